// The Vercel AI SDK: with the two of its providers that take any OpenAI-compatible server, and with those of OpenAI (Responses,
// its default), Anthropic and Google.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createAnthropic } from '@ai-sdk/anthropic';
import { createGoogleGenerativeAI } from '@ai-sdk/google';
import { createOpenAI } from '@ai-sdk/openai';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { createOpenRouter } from '@openrouter/ai-sdk-provider';
import { APICallError, generateText, Output, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';
import { key, modelsThatThink, png, url } from './gateway.mjs';

const openaiCompatible = createOpenAICompatible({
  name: 'llmgateway',
  baseURL: `${url}/v1`,
  apiKey: key,
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const openrouter = createOpenRouter({ baseURL: `${url}/v1`, apiKey: key, compatibility: 'strict' });

const openai = createOpenAI({ baseURL: `${url}/v1`, apiKey: key });
const anthropic = createAnthropic({ baseURL: `${url}/v1`, apiKey: key });
const google = createGoogleGenerativeAI({ baseURL: `${url}/v1beta`, apiKey: key });

const providers = { 'openai-compatible': openaiCompatible, openrouter, openai, anthropic, google };
const models = ['openai/gpt-4o-mini', 'anthropic/claude-sonnet-4-5', 'google-ai-studio/gemini-2.5-flash'];
const profile = z.object({ name: z.string(), age: z.number() });

for (const [name, provider] of Object.entries(providers)) {
  for (const id of models) {
    const model = provider(id);

    test(`${name}: text and usage: ${id}`, async () => {
      const { text, usage, finishReason } = await generateText({ model, prompt: 'What is the capital of France?', maxRetries: 0 });
      assert.match(text, /Paris/);
      assert.equal(finishReason, 'stop');
      assert.ok(usage.inputTokens > 0 && usage.outputTokens > 0);
    });

    test(`${name}: stream: ${id}`, async () => {
      const result = streamText({ model, prompt: 'Count to 10', maxRetries: 0 });
      const pieces = [];
      for await (const piece of result.textStream) pieces.push(piece);
      assert.equal(pieces.join(''), '1, 2, 3, 4, 5, 6, 7, 8, 9, 10');
      assert.ok((await result.usage).outputTokens > 0);
    });

    test(`${name}: tools: ${id}`, async () => {
      const asked = [];
      const weather = tool({
        description: 'Get the current weather',
        inputSchema: z.object({ location: z.string() }),
        execute: async ({ location }) => {
          asked.push(location);
          return '18 degrees';
        },
      });
      const { text } = await generateText({
        model,
        prompt: "What's the weather in Rome?",
        tools: { get_weather: weather },
        stopWhen: stepCountIs(3),
        maxRetries: 0,
      });
      assert.deepEqual(asked, ['Rome']);
      assert.match(text, /18 degrees/);
    });

    test(`${name}: structured output: ${id}`, async () => {
      const { output } = await generateText({
        model,
        prompt: 'Generate a user profile',
        output: Output.object({ schema: profile }),
        maxRetries: 0,
      });
      assert.deepEqual(Object.keys(output).sort(), ['age', 'name']);
    });

    test(`${name}: images: ${id}`, async () => {
      const content = [
        { type: 'text', text: 'What do you see?' },
        { type: 'image', image: Buffer.from(png, 'base64'), mediaType: 'image/png' },
      ];
      const { text } = await generateText({ model, messages: [{ role: 'user', content }], maxRetries: 0 });
      assert.match(text, /1 image/);
    });
  }

  test(`${name}: errors`, async () => {
    const asked = generateText({ model: provider('nobody/x'), prompt: 'Hi', maxRetries: 0 });
    await assert.rejects(asked, (error) => APICallError.isInstance(error) && error.statusCode === 404 && /nobody/.test(error.message));
  });
}

// The controls of thinking in each format.
const thinking = {
  openai: [openai, { openai: { reasoningEffort: 'low', reasoningSummary: 'auto', store: false, forceReasoning: true } }],
  anthropic: [anthropic, { anthropic: { thinking: { type: 'enabled', budgetTokens: 2000 } } }],
  google: [google, { google: { thinkingConfig: { includeThoughts: true, thinkingLevel: 'low' } } }],
};

for (const [name, [provider, providerOptions]] of Object.entries(thinking)) {
  for (const id of modelsThatThink) {
    test(`${name}: thinking through a tool loop: ${id}`, async () => {
      const weather = tool({
        description: 'Get the current weather',
        inputSchema: z.object({ location: z.string() }),
        execute: async () => '18 degrees',
      });
      const result = streamText({
        model: provider(id),
        prompt: "What's the weather in Rome?",
        tools: { get_weather: weather },
        stopWhen: stepCountIs(3),
        maxRetries: 0,
        providerOptions,
        onError: ({ error }) => assert.fail(error),
      });
      const [first, second] = await result.steps;
      // OpenAI shows no thinking to callers that cannot request a summary.
      const shows = name === 'openai' || !id.startsWith('openai/');
      assert.ok(first.reasoningText || !shows, JSON.stringify(first.content));
      assert.match(second.text, /18 degrees/);
    });
  }
}
