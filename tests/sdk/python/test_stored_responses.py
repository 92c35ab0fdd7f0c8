"""Answers of the Responses API that the gateway keeps, over providers that do not keep answers."""

import openai
import pytest

from models import each

SOME = ["anthropic/claude-3-5-sonnet-20241022", "google-ai-studio/gemini-2.0-flash-001", "deepseek/deepseek-chat"]


@each(SOME)
def test_a_conversation_continues_by_id(client, model):
    first = client.responses.create(model=model, input="My name is Ada.")
    assert first.id.startswith("resp_") and first.store is True
    with client.responses.stream(model=model, input="What is my name?", previous_response_id=first.id) as stream:
        second = stream.get_final_response()
    assert second.previous_response_id == first.id
    assert client.responses.retrieve(second.id) == client.responses.retrieve(second.id)
    assert client.responses.retrieve(second.id).output_text == second.output_text
    items = list(client.responses.input_items.list(second.id, order="asc", limit=1))
    assert [item.role for item in items] == ["user", "assistant", "user"]
    assert items[0].content[0].text == "My name is Ada."
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)
    with pytest.raises(openai.BadRequestError) as error:
        client.responses.create(model=model, input="And now?", previous_response_id=first.id)
    assert error.value.code == "previous_response_not_found"
    with pytest.raises(openai.BadRequestError):
        client.responses.cancel(second.id)


def test_nothing_is_stored_if_the_request_forbids_it(client):
    answer = client.responses.create(model=SOME[0], input="Hello.", store=False)
    assert answer.store is False
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(answer.id)
