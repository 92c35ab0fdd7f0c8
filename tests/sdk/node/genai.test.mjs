// Google's client against the Gemini API: every provider answers in its format.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ApiError, GoogleGenAI } from '@google/genai';
import { key, modelsByFormat, modelsThatThink, png, url } from './gateway.mjs';

const google = new GoogleGenAI({ apiKey: key, vertexai: false, httpOptions: { baseUrl: url } });
const weatherTool = {
  name: 'get_weather',
  description: 'Get the current weather',
  parametersJsonSchema: { type: 'object', properties: { location: { type: 'string' } }, required: ['location'] },
};

for (const model of modelsByFormat) {
  test(`Gemini: text and usage: ${model}`, async () => {
    const answer = await google.models.generateContent({ model, contents: 'What is the capital of France?' });
    assert.match(answer.text, /Paris/);
    assert.equal(answer.candidates[0].finishReason, 'STOP');
    assert.ok(answer.usageMetadata.promptTokenCount > 0 && answer.usageMetadata.candidatesTokenCount > 0);
    assert.ok(answer.responseId);
  });

  test(`Gemini: stream: ${model}`, async () => {
    const pieces = [];
    let last;
    for await (last of await google.models.generateContentStream({ model, contents: 'Count to 10' })) {
      pieces.push(last.text ?? '');
    }
    assert.equal(pieces.join(''), '1, 2, 3, 4, 5, 6, 7, 8, 9, 10');
    assert.equal(last.candidates[0].finishReason, 'STOP');
    assert.ok(last.usageMetadata.totalTokenCount > 0);
  });

  test(`Gemini: chat with tools: ${model}`, async () => {
    const chat = google.chats.create({ model, config: { tools: [{ functionDeclarations: [weatherTool] }] } });
    const asked = await chat.sendMessage({ message: 'What is the weather in Rome?' });
    const [call] = asked.functionCalls;
    assert.deepEqual(call.args, { location: 'Rome' });
    const functionResponse = { id: call.id, name: call.name, response: { output: '18 degrees' } };
    const answer = await chat.sendMessage({ message: [{ functionResponse }] });
    assert.match(answer.text, /18 degrees/);
  });

  test(`Gemini: tools that the client calls itself: ${model}`, async () => {
    const asked = [];
    const callableTool = {
      tool: async () => ({ functionDeclarations: [weatherTool] }),
      callTool: async (calls) =>
        calls.map(({ id, name, args }) => {
          asked.push(args.location);
          return { functionResponse: { id, name, response: { output: '18 degrees' } } };
        }),
    };
    const request = { model, contents: 'What is the weather in Rome?', config: { tools: [callableTool] } };
    const answer = await google.models.generateContent(request);
    assert.deepEqual(asked, ['Rome']);
    assert.match(answer.text, /18 degrees/);
  });

  test(`Gemini: structured output: ${model}`, async () => {
    const responseJsonSchema = {
      type: 'object',
      properties: { name: { type: 'string' }, age: { type: 'number' } },
      required: ['name', 'age'],
    };
    const config = { responseMimeType: 'application/json', responseJsonSchema };
    const answer = await google.models.generateContent({ model, contents: 'Generate a user profile', config });
    assert.deepEqual(Object.keys(JSON.parse(answer.text)).sort(), ['age', 'name']);
  });

  test(`Gemini: images: ${model}`, async () => {
    const contents = ['What do you see?', { inlineData: { mimeType: 'image/png', data: png } }];
    assert.match((await google.models.generateContent({ model, contents })).text, /1 image/);
  });

  test(`Gemini: counting: ${model}`, async () => {
    assert.ok((await google.models.countTokens({ model, contents: 'Say hello.' })).totalTokens > 0);
  });
}

for (const model of modelsThatThink) {
  test(`Gemini: thinking through a tool loop: ${model}`, async () => {
    const tools = [{ functionDeclarations: [weatherTool] }];
    const thinkingConfig = { includeThoughts: true, thinkingLevel: 'LOW' };
    const chat = google.chats.create({ model, config: { tools, thinkingConfig } });
    const parts = [];
    for await (const piece of await chat.sendMessageStream({ message: 'What is the weather in Rome?' })) {
      parts.push(...(piece.candidates[0].content?.parts ?? []));
    }
    // OpenAI shows no thinking unless it is asked for a summary.
    assert.ok(model.startsWith('openai/') || parts.some(({ thought, text }) => thought && text));
    assert.ok(parts.some(({ functionCall }) => functionCall));
    // The history of a stream has each piece as a turn of its own, so this loop uses whole answers.
    const loop = google.chats.create({ model, config: { tools, thinkingConfig } });
    const { id, name } = (await loop.sendMessage({ message: 'What is the weather in Rome?' })).functionCalls[0];
    const functionResponse = { id, name, response: { output: '18 degrees' } };
    const answer = await loop.sendMessage({ message: [{ functionResponse }] });
    assert.match(answer.text, /18 degrees/);
    assert.ok(answer.usageMetadata.thoughtsTokenCount > 0);
  });
}

test('Gemini: models', async () => {
  const names = [];
  for await (const { name } of await google.models.list({ config: { pageSize: 20 } })) names.push(name);
  assert.ok(names.includes('models/gemini-2.5-flash'));
  assert.equal((await google.models.get({ model: 'gemini-2.5-flash' })).name, 'models/gemini-2.5-flash');
});

test('Gemini: errors', async () => {
  const has = (status, word) => (error) =>
    error instanceof ApiError && error.status === status && JSON.parse(error.message).error.status === word;
  const contents = 'Hi';
  await assert.rejects(google.models.generateContent({ model: 'no-such-model', contents }), has(404, 'NOT_FOUND'));
  const config = { temperature: 'hot' };
  const hot = google.models.generateContent({ model: 'openai/gpt-4o', contents, config });
  await assert.rejects(hot, has(400, 'INVALID_ARGUMENT'));
  const stranger = new GoogleGenAI({ apiKey: 'sk-nobody', vertexai: false, httpOptions: { baseUrl: url } });
  const unknown = stranger.models.generateContent({ model: 'openai/gpt-4o', contents });
  await assert.rejects(unknown, has(401, 'UNAUTHENTICATED'));
});

for (const model of ['openai/fault-cut-4', 'anthropic/fault-stream-error-4', 'google-ai-studio/fault-cut-4']) {
  test(`Gemini: a stream that breaks: ${model}`, async () => {
    await assert.rejects(async () => {
      for await (const piece of await google.models.generateContentStream({ model, contents: 'Count to 10' })) {
        assert.equal(piece.candidates?.[0]?.finishReason ?? undefined, undefined);
      }
    });
  });
}
