// Anthropic's client against the Messages API: every provider answers in its format.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import Anthropic, { APIError, BadRequestError, NotFoundError, AuthenticationError } from '@anthropic-ai/sdk';
import { betaZodTool } from '@anthropic-ai/sdk/helpers/beta/zod';
import { zodOutputFormat } from '@anthropic-ai/sdk/helpers/zod';
import { z } from 'zod';
import { key, modelsByFormat, modelsThatThink, png, url, user } from './gateway.mjs';

const claude = new Anthropic({ baseURL: url, apiKey: key, maxRetries: 0, timeout: 30_000 });
const asking = (model, text, more = {}) => ({ model, max_tokens: 4000, messages: user(text), ...more });
const said = (message) => message.content.filter(({ type }) => type === 'text').map(({ text }) => text).join('');

const weatherTool = {
  name: 'get_weather',
  description: 'Get the current weather',
  input_schema: { type: 'object', properties: { location: { type: 'string' } }, required: ['location'] },
};

for (const model of modelsByFormat) {
  test(`Messages: text and usage: ${model}`, async () => {
    const message = await claude.messages.create(asking(model, 'What is the capital of France?'));
    assert.match(said(message), /Paris/);
    assert.equal(message.stop_reason, 'end_turn');
    assert.ok(message.usage.input_tokens > 0 && message.usage.output_tokens > 0);
    assert.equal(message.llmgateway.used_provider, model.split('/')[0]);
    assert.ok(message._request_id);
  });

  test(`Messages: stream helper: ${model}`, async () => {
    const stream = claude.messages.stream(asking(model, 'Count to 10'));
    const pieces = [];
    stream.on('text', (piece) => pieces.push(piece));
    const message = await stream.finalMessage();
    assert.equal(pieces.join(''), '1, 2, 3, 4, 5, 6, 7, 8, 9, 10');
    assert.equal(said(message), pieces.join(''));
    assert.ok(message.usage.input_tokens > 0 && message.usage.output_tokens > 0);
  });

  test(`Messages: raw stream: ${model}`, async () => {
    const stream = await claude.messages.create(asking(model, 'Count to 10', { stream: true }));
    const kinds = [];
    for await (const event of stream) kinds.push(event.type);
    assert.equal(kinds[0], 'message_start');
    assert.deepEqual(kinds.slice(-3), ['content_block_stop', 'message_delta', 'message_stop']);
  });

  test(`Messages: tools in a stream: ${model}`, async () => {
    const request = asking(model, 'What is the weather in Paris and in Rome?', { tools: [weatherTool] });
    const message = await claude.messages.stream(request).finalMessage();
    assert.equal(message.stop_reason, 'tool_use');
    const calls = message.content.filter(({ type }) => type === 'tool_use');
    assert.deepEqual(calls.map(({ input }) => input.location), ['Paris', 'Rome']);
    const results = calls.map(({ id }) => ({ type: 'tool_result', tool_use_id: id, content: '18 degrees' }));
    request.messages.push({ role: 'assistant', content: message.content }, { role: 'user', content: results });
    assert.match(said(await claude.messages.create(request)), /18 degrees/);
  });

  test(`Messages: tool runner: ${model}`, async () => {
    const asked = [];
    const weather = betaZodTool({
      name: 'get_weather',
      description: 'Get the current weather',
      inputSchema: z.object({ location: z.string() }),
      run: ({ location }) => {
        asked.push(location);
        return '18 degrees';
      },
    });
    for (const stream of [false, true]) {
      const request = asking(model, 'What is the weather in Rome?', { tools: [weather], stream });
      const message = await claude.beta.messages.toolRunner(request).runUntilDone();
      assert.match(said(message), /18 degrees/);
    }
    assert.deepEqual(asked, ['Rome', 'Rome']);
  });

  test(`Messages: structured output: ${model}`, async () => {
    const format = zodOutputFormat(z.object({ name: z.string(), age: z.number() }));
    const message = await claude.messages.parse(asking(model, 'Generate a user profile', { output_config: { format } }));
    assert.deepEqual(Object.keys(message.parsed_output).sort(), ['age', 'name']);
  });

  test(`Messages: images: ${model}`, async () => {
    const source = { type: 'base64', media_type: 'image/png', data: png };
    const content = [{ type: 'image', source }, { type: 'text', text: 'What do you see?' }];
    const message = await claude.messages.create({ model, max_tokens: 300, messages: user(content) });
    assert.match(said(message), /1 image/);
  });

  test(`Messages: counting: ${model}`, async () => {
    const { input_tokens } = await claude.messages.countTokens({ model, messages: user('Say hello.') });
    assert.ok(input_tokens > 0);
  });
}

for (const model of modelsThatThink) {
  test(`Messages: thinking through a tool loop: ${model}`, async () => {
    const thinking = { type: 'enabled', budget_tokens: 2000 };
    const request = asking(model, 'What is the weather in Rome?', { thinking, tools: [weatherTool] });
    const message = await claude.beta.messages.stream(request).finalMessage();
    const thought = message.content.find(({ type }) => type.endsWith('thinking'));
    assert.ok(thought?.thinking || thought?.data, JSON.stringify(message.content));
    const call = message.content.find(({ type }) => type === 'tool_use');
    const result = { type: 'tool_result', tool_use_id: call.id, content: '18 degrees' };
    request.messages.push({ role: 'assistant', content: message.content }, { role: 'user', content: [result] });
    assert.match(said(await claude.beta.messages.create(request)), /18 degrees/);
  });
}

test('Messages: beta.messages with a beta', async () => {
  const betas = ['context-management-2025-06-27'];
  const edits = [{ type: 'clear_tool_uses_20250919' }];
  const request = asking('anthropic/claude-sonnet-4-5', 'Say hello.', { betas, context_management: { edits } });
  assert.ok(said(await claude.beta.messages.create(request)));
});

test('Messages: models', async () => {
  const page = await claude.models.list({ limit: 3 });
  assert.equal(page.data.length, 3);
  assert.equal((await claude.models.retrieve(page.data[0].id)).id, page.data[0].id);
});

test('Messages: errors', async () => {
  const refusal = (kind, type) => (error) => error instanceof kind && error.error.error.type === type;
  await assert.rejects(claude.messages.create(asking('nobody/x', 'Hi')), refusal(NotFoundError, 'not_found_error'));
  const empty = { model: 'openai/gpt-4o', max_tokens: 5, messages: [] };
  await assert.rejects(claude.messages.create(empty), refusal(BadRequestError, 'invalid_request_error'));
  const stranger = claude.withOptions({ apiKey: 'sk-nobody' });
  const unknown = refusal(AuthenticationError, 'authentication_error');
  await assert.rejects(stranger.messages.create(asking('openai/gpt-4o', 'Hi')), unknown);
});

for (const model of ['openai/fault-cut-4', 'anthropic/fault-stream-error-4', 'google-ai-studio/fault-cut-4']) {
  test(`Messages: a stream that breaks: ${model}`, async () => {
    await assert.rejects(claude.messages.stream(asking(model, 'Count to 10')).finalMessage(), APIError);
  });
}
