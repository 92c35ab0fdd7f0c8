"""Recordings, speech and images by OpenAI's own client."""

import base64
import io

import pytest
from openai import BadRequestError, omit

# A second of 16 bits at 16 kHz is 32,000 bytes.
SOUND = bytes(range(256)) * 250
HEARD = f"I heard {len(SOUND)} bytes of talk.wav."
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)


def sound():
    return ("talk.wav", io.BytesIO(SOUND), "audio/wav")


@pytest.mark.parametrize("model", ["openai/whisper-1", "azure/whisper", "groq/whisper-large-v3", "my-vllm/some-whisper"])
def test_a_recording_is_transcribed(client, model):
    answer = client.audio.transcriptions.create(model=model, file=sound(), language="en")
    assert answer.text == HEARD
    assert answer.usage.type == "duration" and answer.usage.seconds == 2
    assert answer.llmgateway["used_provider"] == model.split("/")[0]


def test_every_form_of_a_transcript(client):
    def ask(**more):
        return client.audio.transcriptions.create(model="openai/whisper-1", file=sound(), **more)

    assert ask(response_format="text").strip() == HEARD
    assert "00:00:00,000 --> 00:00:02,000" in ask(response_format="srt")
    assert ask(response_format="vtt").startswith("WEBVTT")
    verbose = ask(response_format="verbose_json", timestamp_granularities=["word", "segment"])
    assert verbose.duration == 2
    assert verbose.segments[0].end == 2
    assert [word.word for word in verbose.words] == HEARD.split(" ")
    diarized = client.audio.transcriptions.create(
        model="openai/gpt-4o-transcribe-diarize", file=sound(), response_format="diarized_json", chunking_strategy="auto"
    )
    assert diarized.segments[0].speaker == "A"


def test_a_streamed_transcript(client):
    events = list(client.audio.transcriptions.create(model="openai/gpt-4o-transcribe", file=sound(), stream=True))
    assert "".join(event.delta for event in events if event.type == "transcript.text.delta") == HEARD
    assert events[-1].type == "transcript.text.done"
    assert events[-1].usage.input_token_details.audio_tokens > 0


def test_a_translation(client):
    answer = client.audio.translations.create(model="openai/whisper-1", file=sound(), response_format="verbose_json")
    assert (answer.text, answer.language) == (HEARD, "english")


def test_a_large_recording(client):
    large = ("long.wav", io.BytesIO(bytes(12 << 20)), "audio/wav")
    answer = client.audio.transcriptions.create(model="openai/whisper-1", file=large)
    assert answer.text == f"I heard {12 << 20} bytes of long.wav."


def test_mistakes_are_reported(client):
    with pytest.raises(BadRequestError, match="/v1/audio/speech"):
        client.audio.transcriptions.create(model="openai/tts-1", file=sound())
    with pytest.raises(BadRequestError, match="empty"):
        client.audio.transcriptions.create(model="openai/whisper-1", file=("a.wav", b""))


def test_speech(client):
    with client.audio.speech.with_streaming_response.create(
        model="openai/gpt-4o-mini-tts", voice="alloy", input="two words", response_format="wav"
    ) as answer:
        assert answer.headers["content-type"] == "audio/wav"
        assert b"".join(answer.iter_bytes()).startswith(b"RIFF")


@pytest.mark.parametrize("image", [("a.png", PNG, "image/png"), [("a.png", PNG, "image/png"), ("b.png", PNG, "image/png")]])
def test_images_are_edited(client, image):
    answer = client.images.edit(model="openai/gpt-image-2", image=image, prompt="a hat", n=2)
    assert [base64.b64decode(entry.b64_json) for entry in answer.data] == [PNG, PNG]
    assert answer.usage.input_tokens_details.image_tokens > 0
    assert answer.llmgateway["used_model"] == "gpt-image-2"


@pytest.mark.parametrize("edits", [False, True])
def test_streamed_images(client, edits):
    if edits:
        stream = client.images.edit(
            model="openai/gpt-image-2", image=("a.png", PNG, "image/png"), prompt="a fox", stream=True, partial_images=2
        )
    else:
        stream = client.images.generate(model="openai/gpt-image-2", prompt="a fox", stream=True, partial_images=2)
    kind = "image_edit" if edits else "image_generation"
    assert [event.type for event in stream] == [f"{kind}.partial_image"] * 2 + [f"{kind}.completed"]


def test_images_are_made(client):
    answer = client.images.generate(model="openai/gpt-image-2", prompt="a fox", size=omit)
    assert base64.b64decode(answer.data[0].b64_json) == PNG
    with pytest.raises(BadRequestError, match="URL"):
        client.images.generate(model="openai/gpt-image-2", prompt="a fox", response_format="url")


IMAGE_MODELS = [
    "google-ai-studio/gemini-3.1-flash-image",
    "google-vertex/gemini-3-pro-image",
    "aws-bedrock/stability.stable-image-ultra-v1:1",
    "fireworks/accounts/fireworks/models/flux-1-schnell-fp8",
]


@pytest.mark.parametrize("model", IMAGE_MODELS)
def test_images_of_other_makers(client, model):
    answer = client.images.generate(model=model, prompt="a fox", n=2, size="1024x1024", response_format="b64_json")
    assert [base64.b64decode(entry.b64_json) for entry in answer.data] == [PNG, PNG]
    assert answer.llmgateway["used_provider"] == model.split("/")[0]
    with pytest.raises(BadRequestError, match="URL"):
        client.images.generate(model=model, prompt="a fox", response_format="url")


EDITORS = [*IMAGE_MODELS[:3], "xai/grok-imagine-image", "together-ai/some-flux"]


@pytest.mark.parametrize("model", EDITORS)
def test_edits_of_other_makers(client, model):
    answer = client.images.edit(model=model, image=("a.png", PNG, "image/png"), prompt="a hat")
    assert base64.b64decode(answer.data[0].b64_json) == PNG


@pytest.mark.parametrize("model", ["google-ai-studio/gemini-3.8-flash-tts", "deepgram/aura-2-thalia-en", "xai/grok-tts"])
def test_speech_of_other_makers(client, model):
    answer = client.audio.speech.create(model=model, voice="Kore", input="two words", response_format="wav")
    assert answer.response.headers["content-type"] == "audio/wav"
    assert answer.read().startswith(b"RIFF")


@pytest.mark.parametrize("model", ["deepgram/nova-3", "xai/grok-stt"])
def test_transcripts_of_other_makers(client, model):
    answer = client.audio.transcriptions.create(
        model=model, file=sound(), response_format="verbose_json", timestamp_granularities=["word"]
    )
    assert answer.text.startswith(f"I heard {len(SOUND)} bytes")
    assert (answer.duration, answer.words[0].word) == (2, "I")
    assert "00:00:00,000 --> 00:00:02,000" in client.audio.transcriptions.create(
        model=model, file=sound(), response_format="srt"
    )
