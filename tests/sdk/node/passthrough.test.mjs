// Providers' own APIs (/p/PROVIDER/…) by their own clients.

import { GoogleGenAI } from '@google/genai';
import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI, { toFile } from 'openai';
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
