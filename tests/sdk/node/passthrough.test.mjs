// Providers' own APIs (/p/PROVIDER/…) by their own clients.

import { GoogleGenAI } from '@google/genai';
import assert from 'node:assert/strict';
import { Agent } from 'node:https';
import { connect } from 'node:net';
import { test } from 'node:test';
import OpenAI, { toFile } from 'openai';
import { OpenAIRealtimeWS } from 'openai/realtime/ws';
import { key, url } from './gateway.mjs';

const openai = new OpenAI({ baseURL: `${url}/p/openai/v1`, apiKey: key, maxRetries: 0, timeout: 30_000 });

test('a file in parts', async () => {
  const content = Buffer.alloc(250_000, 'parts');
  const upload = await openai.uploads.create({
    filename: 'a.bin', bytes: content.length, mime_type: 'application/octet-stream', purpose: 'user_data',
  });
  const ids = [];
  for (let at = 0; at < content.length; at += 100_000) {
    const data = await toFile(content.subarray(at, at + 100_000), 'part');
    ids.push((await openai.uploads.parts.create(upload.id, { data })).id);
  }
  const done = await openai.uploads.complete(upload.id, { part_ids: ids });
  assert.deepEqual([done.status, done.file.bytes], ['completed', content.length]);
  const answer = await openai.files.content(done.file.id);
  assert.deepEqual(Buffer.from(await answer.arrayBuffer()), content);
});

test('Google answers, whole and streamed', async () => {
  const google = new GoogleGenAI({ apiKey: key, vertexai: false, httpOptions: { baseUrl: `${url}/p/google-ai-studio` } });
  const asked = { model: 'gemini-2.5-flash', contents: 'the capital of France?' };
  assert.match((await google.models.generateContent(asked)).text, /Paris/);
  let text = '';
  for await (const chunk of await google.models.generateContentStream(asked)) text += chunk.text ?? '';
  assert.match(text, /Paris/);
});

// The client makes wss:// of every address; the connection beneath is a plain one here.
class PlainAgent extends Agent {
  createConnection({ host, port }) {
    return connect({ host, port });
  }
}

test('OpenAI speaks over a WebSocket', async () => {
  const realtime = new OpenAIRealtimeWS({ model: 'gpt-realtime', options: { agent: new PlainAgent() } }, openai);
  const said = await new Promise((resolve, reject) => {
    let text = '';
    realtime.on('error', reject);
    realtime.on('session.created', () => {
      realtime.send({ type: 'session.update', session: { type: 'realtime', output_modalities: ['text'] } });
      const content = [{ type: 'input_text', text: 'the capital of France?' }];
      realtime.send({ type: 'conversation.item.create', item: { type: 'message', role: 'user', content } });
      realtime.send({ type: 'response.create' });
    });
    realtime.on('response.output_text.delta', (event) => (text += event.delta));
    realtime.on('response.done', (event) => resolve({ text, usage: event.response.usage }));
  });
  realtime.close();
  assert.match(said.text, /Paris/);
  assert.ok(said.usage.total_tokens > 0);
});
