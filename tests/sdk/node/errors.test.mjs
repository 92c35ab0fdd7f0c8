// Errors arrive as the SDK's own exceptions, with the fields that its users read.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI from 'openai';
import { client, url, user } from './gateway.mjs';

const request = { model: 'openai/gpt-4o', messages: user('Count to 10') };

test('no key', async () => {
  const answer = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(request),
  });
  assert.equal(answer.status, 401);
  assert.equal((await answer.json()).error.code, 'invalid_api_key');
});

test('wrong key', async () => {
  const stranger = client.withOptions({ apiKey: 'sk-nobody' });
  await assert.rejects(stranger.chat.completions.create(request), OpenAI.AuthenticationError);
});

test('unknown model', async () => {
  const asked = client.chat.completions.create({ ...request, model: 'nobody/gpt-4o' });
  await assert.rejects(asked, (error) => error instanceof OpenAI.NotFoundError && error.code === 'model_not_found');
});

test('bad parameter', async () => {
  const asked = client.chat.completions.create({ ...request, temperature: 'hot' });
  await assert.rejects(asked, (error) => error instanceof OpenAI.BadRequestError && error.param === 'temperature');
});

test('rate limit of the provider', async () => {
  const asked = client.chat.completions.create({ ...request, model: 'openai/fault-429' });
  await assert.rejects(asked, OpenAI.RateLimitError);
});

for (const model of ['openai/fault-cut-4', 'anthropic/fault-cut-4', 'google-ai-studio/fault-stream-error-4']) {
  test(`stream that breaks: ${model}`, async () => {
    const stream = await client.chat.completions.create({ ...request, model, stream: true });
    await assert.rejects(async () => {
      for await (const chunk of stream) assert.equal(chunk.choices[0].finish_reason ?? null, null);
    }, OpenAI.APIError);
  });
}
