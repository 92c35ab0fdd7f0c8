// OpenAI's client against the Responses API: every provider answers in its format.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI from 'openai';
import { zodTextFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import { client, modelsByFormat, modelsThatThink, png, user } from './gateway.mjs';

const weatherTool = {
  type: 'function',
  name: 'get_weather',
  description: 'Get the current weather',
  strict: true,
  parameters: {
    type: 'object',
    properties: { location: { type: 'string' } },
    required: ['location'],
    additionalProperties: false,
  },
};
const profile = z.object({ name: z.string(), age: z.number() });

for (const model of modelsByFormat) {
  test(`Responses: text and usage: ${model}`, async () => {
    const answer = await client.responses.create({ model, input: 'What is the capital of France?' });
    assert.match(answer.output_text, /Paris/);
    assert.equal(answer.status, 'completed');
    assert.ok(answer.usage.input_tokens > 0 && answer.usage.output_tokens > 0);
    const again = await client.responses.retrieve(answer.id);
    assert.equal(again.output_text, answer.output_text);
  });

  test(`Responses: stream: ${model}`, async () => {
    const events = await client.responses.create({ model, input: 'Count to 10', stream: true, store: false });
    const seen = [];
    for await (const event of events) seen.push(event);
    assert.deepEqual(seen.map(({ sequence_number }) => sequence_number), [...seen.keys()]);
    const deltas = seen.filter(({ type }) => type === 'response.output_text.delta');
    assert.equal(deltas.map(({ delta }) => delta).join(''), '1, 2, 3, 4, 5, 6, 7, 8, 9, 10');
    assert.equal(seen.at(-1).type, 'response.completed');
  });

  test(`Responses: stream helper: ${model}`, async () => {
    const stream = client.responses.stream({ model, input: 'Count to 10', store: false });
    const pieces = [];
    stream.on('response.output_text.delta', ({ delta }) => pieces.push(delta));
    const answer = await stream.finalResponse();
    assert.equal(answer.output_text, pieces.join(''));
  });

  test(`Responses: parse: ${model}`, async () => {
    const request = {
      model,
      input: 'Generate a user profile',
      store: false,
      text: { format: zodTextFormat(profile, 'profile') },
    };
    const answer = await client.responses.parse(request);
    assert.deepEqual(Object.keys(answer.output_parsed).sort(), ['age', 'name']);
    const streamed = await client.responses.stream(request).finalResponse();
    assert.deepEqual(Object.keys(streamed.output_parsed).sort(), ['age', 'name']);
  });

  test(`Responses: a tool loop, sent whole and stored: ${model}`, async () => {
    const request = { model, tools: [weatherTool] };
    const question = user('What is the weather in Rome?');
    const asked = await client.responses.create({ ...request, input: question });
    const [call] = asked.output.filter(({ type }) => type === 'function_call');
    assert.deepEqual(JSON.parse(call.arguments), { location: 'Rome' });
    const result = { type: 'function_call_output', call_id: call.call_id, output: '18 degrees' };
    const whole = await client.responses.create({ ...request, input: [...question, ...asked.output, result] });
    assert.match(whole.output_text, /18 degrees/);
    const stored = await client.responses.create({ ...request, input: [result], previous_response_id: asked.id });
    assert.match(stored.output_text, /18 degrees/);
  });

  test(`Responses: images: ${model}`, async () => {
    const content = [
      { type: 'input_text', text: 'What do you see?' },
      { type: 'input_image', image_url: `data:image/png;base64,${png}`, detail: 'auto' },
    ];
    const answer = await client.responses.create({ model, input: user(content), store: false });
    assert.match(answer.output_text, /1 image/);
  });
}

for (const model of modelsThatThink) {
  test(`Responses: thinking through a tool loop: ${model}`, async () => {
    const request = {
      model,
      tools: [weatherTool],
      store: false,
      reasoning: { effort: 'low', summary: 'auto' },
      include: ['reasoning.encrypted_content'],
    };
    const question = user('What is the weather in Rome?');
    // Without the stream helper, which adds fields to its items that OpenAI refuses.
    const asked = await client.responses.create({ ...request, input: question });
    assert.ok(asked.output.some(({ type, encrypted_content }) => type === 'reasoning' && encrypted_content));
    const call = asked.output.find(({ type }) => type === 'function_call');
    const result = { type: 'function_call_output', call_id: call.call_id, output: '18 degrees' };
    const answer = await client.responses.create({ ...request, input: [...question, ...asked.output, result] });
    assert.match(answer.output_text, /18 degrees/);
    assert.ok(answer.usage.output_tokens_details.reasoning_tokens > 0);
  });
}

test('Responses: errors', async () => {
  const input = 'Hi';
  await assert.rejects(client.responses.create({ model: 'nobody/x', input }), OpenAI.NotFoundError);
  const hot = client.responses.create({ model: 'openai/gpt-4o', input, temperature: 'hot' });
  await assert.rejects(hot, (error) => error instanceof OpenAI.BadRequestError && error.param === 'temperature');
  await assert.rejects(client.responses.retrieve('resp_unknown'), OpenAI.NotFoundError);
});

for (const model of ['openai/fault-cut-4', 'anthropic/fault-cut-4', 'google-ai-studio/fault-stream-error-4']) {
  test(`Responses: a stream that breaks: ${model}`, async () => {
    await assert.rejects(async () => {
      const events = await client.responses.create({ model, input: 'Count to 10', stream: true, store: false });
      for await (const event of events) {
        assert.notEqual(event.type, 'response.completed');
        if (event.type === 'response.failed') throw new Error(event.response.error.message);
      }
    });
  });
}
