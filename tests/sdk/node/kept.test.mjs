// Files, batches and message batches by the clients of OpenAI and Anthropic.

import Anthropic from '@anthropic-ai/sdk';
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { toFile } from 'openai';
import { client, key, url } from './gateway.mjs';

const line = (id, content) =>
  JSON.stringify({
    custom_id: id, method: 'POST', url: '/v1/chat/completions',
    body: { model: 'gpt-5.4-mini', messages: [{ role: 'user', content }] },
  });
const query = { query: { provider: 'openai' } };

test('a file is uploaded, read and deleted', async () => {
  const content = Buffer.alloc(80_000, 'bytes');
  const file = await client.files.create({ file: await toFile(content, 'a.bin'), purpose: 'user_data' }, query);
  assert.deepEqual([file.filename, file.bytes], ['a.bin', content.length]);
  const answer = await client.files.content(file.id);
  assert.deepEqual(Buffer.from(await answer.arrayBuffer()), content);
  const listed = [];
  for await (const entry of client.files.list({}, query)) listed.push(entry.id);
  assert.ok(listed.includes(file.id));
  assert.equal((await client.files.delete(file.id)).deleted, true);
  await assert.rejects(client.files.retrieve(file.id), { status: 404 });
});

test('a file comes in parts', async () => {
  const content = Buffer.alloc(250_000, 'parts');
  const asked = { filename: 'a.bin', bytes: content.length, mime_type: 'application/octet-stream', purpose: 'user_data' };
  const upload = await client.uploads.create(asked, query);
  const ids = [];
  for (let at = 0; at < content.length; at += 100_000) {
    const data = await toFile(content.subarray(at, at + 100_000), 'part');
    ids.push((await client.uploads.parts.create(upload.id, { data })).id);
  }
  const done = await client.uploads.complete(upload.id, { part_ids: ids });
  assert.deepEqual([done.id, done.status, done.file.filename], [upload.id, 'completed', 'a.bin']);
  const answer = await client.files.content(done.file.id);
  assert.deepEqual(Buffer.from(await answer.arrayBuffer()), content);
});

test('a batch from its file to its output', async () => {
  const content = `${line('a', 'the capital of France?')}\n${line('b', 'count to 3')}\n`;
  const file = await client.files.create({ file: await toFile(Buffer.from(content), 'a.jsonl'), purpose: 'batch' }, query);
  const wish = { input_file_id: file.id, endpoint: '/v1/chat/completions', completion_window: '24h' };
  let batch = await client.batches.create({ ...wish, metadata: { team: 'a' } });
  const states = [batch.status];
  while (batch.status !== 'completed') {
    batch = await client.batches.retrieve(batch.id);
    states.push(batch.status);
    assert.deepEqual(batch.metadata, { team: 'a' });
  }
  assert.deepEqual(states, ['validating', 'in_progress', 'completed']);
  const output = await (await client.files.content(batch.output_file_id)).text();
  const answers = output.trim().split('\n').map((text) => JSON.parse(text));
  assert.deepEqual(answers.map((answer) => answer.custom_id), ['a', 'b']);
  assert.match(answers[0].response.body.choices[0].message.content, /Paris/);
  const cancelled = await client.batches.create(wish);
  assert.equal((await client.batches.cancel(cancelled.id)).status, 'cancelling');
});

test('message batches', async () => {
  const claude = new Anthropic({ baseURL: url, apiKey: key, maxRetries: 0, timeout: 30_000 });
  const messages = [{ role: 'user', content: 'the capital of France?' }];
  const params = { model: 'claude-haiku-4-5', max_tokens: 100, messages };
  let batch = await claude.messages.batches.create({ requests: [{ custom_id: 'a', params }] });
  while (batch.processing_status !== 'ended') batch = await claude.messages.batches.retrieve(batch.id);
  const results = [];
  for await (const entry of await claude.messages.batches.results(batch.id)) results.push(entry);
  assert.equal(results[0].custom_id, 'a');
  assert.match(results[0].result.message.content[0].text, /Paris/);
  await claude.messages.batches.delete(batch.id);
});
