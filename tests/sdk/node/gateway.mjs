// The address of the gateway, a client for it, and the models to test.

import OpenAI from 'openai';

function needed(name) {
  const value = process.env[name];
  if (!value) {
    throw new Error(`${name} is not set: these tests need a running gateway (see tests/sdk/README.md)`);
  }
  return value.replace(/\/+$/, '');
}

export const url = needed('LLMGATEWAY_URL');
export const key = needed('LLMGATEWAY_KEY');

// Retries are off, so that a test sees the gateway's first answer.
export const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0, timeout: 30_000 });

export const models = [
  'openai/gpt-4o',
  'anthropic/claude-3-5-sonnet-20241022',
  'google-ai-studio/gemini-2.0-flash-001',
  'google-vertex/gemini-2.0-flash-001',
  'aws-bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0',
  'azure/gpt-4o',
  'cohere/command-a-03-2025',
  'deepseek/deepseek-chat',
  'xai/grok-4',
  'groq/llama-3.3-70b-versatile',
  'cerebras/gpt-oss-120b',
  'mistral/mistral-large-latest',
  'openrouter/openai/gpt-4o-mini',
  'together-ai/meta-llama/Llama-3.3-70B-Instruct-Turbo',
  'fireworks/accounts/fireworks/models/llama-v3p3-70b-instruct',
  'perplexity/sonar',
  'ollama/llama3.2',
  'my-vllm/qwen2.5-7b-instruct',
];

// Perplexity's models call no tools.
export const modelsWithTools = models.filter((model) => !model.startsWith('perplexity/'));

export const user = (content) => [{ role: 'user', content }];

// For each dialect a model whose format is the caller's own, and others that are translated.
export const modelsByFormat = [
  'openai/gpt-4o-mini',
  'anthropic/claude-sonnet-4-5',
  'google-ai-studio/gemini-2.5-flash',
  'aws-bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0',
];

export const modelsThatThink = ['openai/gpt-5.5', 'anthropic/claude-sonnet-4-5', 'google-ai-studio/gemini-3-pro-preview'];

// One pixel.
export const png =
  'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==';
