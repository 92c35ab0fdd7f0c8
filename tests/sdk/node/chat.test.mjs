// What works with every provider: answers, streams, tools, JSON, images.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { client, models, modelsWithTools, png, user } from './gateway.mjs';

const weatherTool = {
  type: 'function',
  function: {
    name: 'get_weather',
    description: 'Get the current weather',
    parameters: { type: 'object', properties: { location: { type: 'string' } }, required: ['location'] },
  },
};

for (const model of models) {
  test(`answer: ${model}`, async () => {
    const answer = await client.chat.completions.create({ model, messages: user('What is the capital of France?') });
    assert.equal(answer.object, 'chat.completion');
    assert.match(answer.choices[0].message.content, /Paris/);
    assert.equal(answer.choices[0].finish_reason, 'stop');
    assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
    assert.equal(answer.metadata.used_provider, model.split('/')[0]);
  });

  test(`stream: ${model}`, async () => {
    const stream = await client.chat.completions.create({
      model,
      messages: user('Count to 10'),
      stream: true,
      stream_options: { include_usage: true },
    });
    const chunks = [];
    for await (const chunk of stream) chunks.push(chunk);
    const last = chunks.pop();
    assert.deepEqual(last.choices, []);
    assert.ok(last.usage.total_tokens > 0);
    assert.equal(chunks.map((chunk) => chunk.choices[0].delta.content ?? '').join(''), '1, 2, 3, 4, 5, 6, 7, 8, 9, 10');
    const finishes = chunks.map((chunk) => chunk.choices[0].finish_reason).filter(Boolean);
    assert.deepEqual(finishes, ['stop']);
    assert.equal(new Set([...chunks, last].map((chunk) => chunk.id)).size, 1);
  });
}

for (const model of modelsWithTools) {
  test(`tools, there and back: ${model}`, async () => {
    const messages = user("What's the weather in Rome?");
    const first = await client.chat.completions.create({ model, messages, tools: [weatherTool] });
    assert.equal(first.choices[0].finish_reason, 'tool_calls');
    const [call] = first.choices[0].message.tool_calls;
    assert.equal(call.function.name, 'get_weather');
    assert.deepEqual(JSON.parse(call.function.arguments), { location: 'Rome' });
    messages.push(first.choices[0].message);
    messages.push({ role: 'tool', tool_call_id: call.id, content: '18 degrees' });
    const second = await client.chat.completions.create({ model, messages, tools: [weatherTool] });
    assert.match(second.choices[0].message.content, /18 degrees/);
  });

  // The SDK joins the deltas itself, and throws if they do not fit together.
  test(`streamed tools: ${model}`, async () => {
    const stream = client.chat.completions.stream({
      model,
      messages: user("What's the weather in Paris and Rome?"),
      tools: [weatherTool],
    });
    const answer = await stream.finalChatCompletion();
    const calls = answer.choices[0].message.tool_calls;
    const places = calls.map((call) => JSON.parse(call.function.arguments).location);
    assert.deepEqual(places, ['Paris', 'Rome']);
    assert.equal(new Set(calls.map((call) => call.id)).size, 2);
  });

  test(`JSON: ${model}`, async () => {
    const answer = await client.chat.completions.create({
      model,
      messages: user('Generate a user profile as JSON'),
      response_format: { type: 'json_object' },
    });
    assert.equal(typeof JSON.parse(answer.choices[0].message.content), 'object');
  });
}

for (const model of ['openai/gpt-4o', 'anthropic/claude-3-5-sonnet-20241022', 'google-ai-studio/gemini-2.0-flash-001']) {
  test(`vision: ${model}`, async () => {
    const content = [
      { type: 'text', text: 'What is in this picture?' },
      { type: 'image_url', image_url: { url: `data:image/png;base64,${png}` } },
    ];
    const answer = await client.chat.completions.create({ model, messages: user(content) });
    assert.match(answer.choices[0].message.content, /1 image .*70 bytes/);
  });
}

for (const model of ['openai/gpt-4o', 'anthropic/claude-3-5-sonnet-20241022']) {
  test(`legacy completion: ${model}`, async () => {
    const prompt = 'What is the capital of France?';
    const answer = await client.completions.create({ model, prompt, max_tokens: 50 });
    assert.equal(answer.object, 'text_completion');
    assert.match(answer.choices[0].text, /Paris/);
    assert.equal(answer.llmgateway.used_provider, model.split('/')[0]);
    const stream = await client.completions.create({ model, prompt, max_tokens: 50, stream: true });
    let text = '';
    for await (const chunk of stream) text += chunk.choices[0].text;
    assert.match(text, /Paris/);
  });
}
