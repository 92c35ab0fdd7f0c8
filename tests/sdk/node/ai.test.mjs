// The Vercel AI SDK, by the two of its providers that take any OpenAI-compatible server.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { createOpenRouter } from '@openrouter/ai-sdk-provider';
import { generateText, Output, stepCountIs, streamText, tool } from 'ai';
import { z } from 'zod';
import { key, url } from './gateway.mjs';

const openaiCompatible = createOpenAICompatible({
  name: 'llmgateway',
  baseURL: `${url}/v1`,
  apiKey: key,
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const openrouter = createOpenRouter({ baseURL: `${url}/v1`, apiKey: key, compatibility: 'strict' });

const providers = { 'openai-compatible': openaiCompatible, openrouter };
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
  }
}
