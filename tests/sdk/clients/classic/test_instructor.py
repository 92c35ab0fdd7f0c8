"""instructor: structured output by tools and by JSON."""

import instructor
import pytest
from openai import OpenAI
from pydantic import BaseModel


class Profile(BaseModel):
    name: str
    age: int


@pytest.mark.parametrize("mode", [instructor.Mode.TOOLS, instructor.Mode.JSON, instructor.Mode.JSON_SCHEMA])
def test_structured_output(base_url, api_key, model, mode):
    client = instructor.from_openai(OpenAI(base_url=base_url, api_key=api_key, max_retries=0), mode=mode)
    profile, answer = client.chat.completions.create_with_completion(
        model=model,
        messages=[{"role": "user", "content": "Generate a user profile as JSON"}],
        response_model=Profile,
        max_retries=0,
    )
    assert isinstance(profile, Profile)
    assert answer.usage.total_tokens > 0


def test_partial_stream(base_url, api_key, model):
    client = instructor.from_openai(OpenAI(base_url=base_url, api_key=api_key, max_retries=0))
    pieces = client.chat.completions.create_partial(
        model=model, messages=[{"role": "user", "content": "Generate a user profile"}], response_model=Profile
    )
    assert list(pieces)[-1].name
