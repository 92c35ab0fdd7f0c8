"""Google's own client, unchanged except for its base URL, over providers of its own format and of others."""

import pytest
from google import genai
from google.genai import errors, types
from pydantic import BaseModel

MODELS = ["google-ai-studio/gemini-2.5-flash", "google-vertex/gemini-2.5-flash", "anthropic/claude-sonnet-4-5", "openai/gpt-4o"]
each_model = pytest.mark.parametrize("model", MODELS)


@pytest.fixture(scope="session", params=["v1beta", "v1"])
def google(request, gateway_url, gateway_key):
    options = types.HttpOptions(base_url=gateway_url, api_version=request.param)
    return genai.Client(api_key=gateway_key, http_options=options, vertexai=False)


@each_model
def test_a_whole_answer(google, model):
    answer = google.models.generate_content(model=model, contents="Say hello.")
    assert answer.text
    assert answer.candidates[0].finish_reason == types.FinishReason.STOP
    assert answer.usage_metadata.prompt_token_count > 0
    assert answer.usage_metadata.total_token_count > answer.usage_metadata.prompt_token_count
    assert answer.response_id


@each_model
def test_a_stream(google, model):
    pieces = list(google.models.generate_content_stream(model=model, contents="Count to 10"))
    assert "".join(piece.text or "" for piece in pieces)
    assert pieces[-1].candidates[0].finish_reason == types.FinishReason.STOP
    assert pieces[-1].usage_metadata.candidates_token_count > 0


@each_model
def test_functions_are_called_by_the_client_itself(google, model):
    called = []

    def get_weather(location: str) -> str:
        """The weather at a place."""
        called.append(location)
        return "18 degrees"

    config = types.GenerateContentConfig(tools=[get_weather])
    answer = google.models.generate_content(
        model=model, contents="What is the weather in Paris?", config=config
    )
    assert called
    assert answer.text


class City(BaseModel):
    name: str
    population: int


@each_model
def test_structured_output(google, model):
    config = types.GenerateContentConfig(response_mime_type="application/json", response_schema=City)
    answer = google.models.generate_content(model=model, contents="Describe Paris.", config=config)
    assert isinstance(answer.parsed, City)


@pytest.mark.parametrize("model", ["google-ai-studio/gemini-2.5-flash", "anthropic/claude-sonnet-4-5"])
def test_thinking(google, model):
    thinking = types.ThinkingConfig(include_thoughts=True, thinking_budget=2048)
    config = types.GenerateContentConfig(thinking_config=thinking)
    answer = google.models.generate_content(model=model, contents="Say hello.", config=config)
    assert any(part.thought for part in answer.candidates[0].content.parts)
    assert answer.text


@each_model
def test_counting(google, model):
    assert google.models.count_tokens(model=model, contents="Say hello.").total_tokens > 0


def test_models(google):
    names = [model.name for model in google.models.list(config={"page_size": 20})]
    assert "models/gemini-2.5-flash" in names
    one = google.models.get(model="gemini-2.5-flash")
    assert one.name == "models/gemini-2.5-flash"
    assert one.input_token_limit > 0


def test_errors(google, gateway_url):
    with pytest.raises(errors.ClientError) as caught:
        google.models.generate_content(model="no-such-model", contents="hi")
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")
    with pytest.raises(errors.ClientError) as caught:
        google.models.embed_content(model="google-ai-studio/gemini-2.5-flash", contents="hi")
    assert caught.value.code == 404
    options = types.HttpOptions(base_url=gateway_url)
    stranger = genai.Client(api_key="sk-nobody", http_options=options, vertexai=False)
    with pytest.raises(errors.ClientError) as caught:
        stranger.models.generate_content(model="openai/gpt-4o", contents="hi")
    assert (caught.value.code, caught.value.status) == (401, "UNAUTHENTICATED")
