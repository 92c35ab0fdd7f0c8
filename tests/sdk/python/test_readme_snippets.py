"""The snippets of the documentation, word for word except the address and the key."""

import json
import shutil
import subprocess

import pytest


def test_curl(gateway_url, gateway_key):
    if not shutil.which("curl"):
        pytest.skip("no curl here")
    command = [
        "curl", "--silent", "--fail-with-body", f"{gateway_url}/v1/chat/completions",
        "-H", "Content-Type: application/json",
        "-H", f"Authorization: Bearer {gateway_key}",
        "-d", """{
"model": "anthropic/claude-3-5-sonnet-20241022",
"messages": [
{
"role": "user",
"content": "What is the capital of France?"
}
]
}""",
    ]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    answer = json.loads(finished.stdout)
    assert "Paris" in answer["choices"][0]["message"]["content"]
    assert answer["object"] == "chat.completion"


def test_first_request(gateway_url, gateway_key, capsys):
    from openai import OpenAI
    client = OpenAI(
        base_url = f"{gateway_url}/v1" ,
        api_key = gateway_key
    )
    # Use Anthropic's Claude
    response = client.chat.completions.create(
        model = "anthropic/claude-3-5-sonnet-20241022" ,
        messages = [
            { "role" : "user" , "content" : "What is the capital of France?" }
        ]
    )
    print (response.choices[ 0 ].message.content)
    assert "Paris" in capsys.readouterr().out


def test_streaming(client, capsys):
    for chunk in client.chat.completions.create(
        model = "anthropic/claude-3-5-sonnet-20241022" ,
        messages = [{ "role" : "user" , "content" : "Count to 10" }],
        stream = True
    ):
        print (chunk.choices[ 0 ].delta.content, end = "" )
    assert "1, 2, 3, 4, 5, 6, 7, 8, 9, 10" in capsys.readouterr().out.replace("None", "")


def test_function_calling(client):
    response = client.chat.completions.create(
        model = "openai/gpt-4o" ,
        messages = [{ "role" : "user" , "content" : "What's the weather?" }],
        tools = [
            {
                "type" : "function" ,
                "function" : {
                    "name" : "get_weather" ,
                    "description" : "Get the current weather" ,
                    "parameters" : {
                        "type" : "object" ,
                        "properties" : {
                            "location" : { "type" : "string" }
                        },
                        "required" : [ "location" ]
                    }
                }
            }
        ]
    )
    call = response.choices[0].message.tool_calls[0]
    assert call.function.name == "get_weather"
    assert json.loads(call.function.arguments) == {"location": "Paris"}


def test_json_output(client):
    response = client.chat.completions.create(
        model = "openai/gpt-4o" ,
        messages = [{ "role" : "user" , "content" : "Generate a user profile" }],
        response_format = { "type" : "json_object" }
    )
    assert isinstance(json.loads(response.choices[0].message.content), dict)
