// Embeddings: vectors are the same in both forms, and mistakes are reported.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { client } from './gateway.mjs';

const embedders = [
  'openai/text-embedding-3-small',
  'google-ai-studio/gemini-embedding-001',
  'google-vertex/gemini-embedding-2',
  'aws-bedrock/amazon.titan-embed-text-v2:0',
  'cohere/embed-v4.0',
  'mistral/mistral-embed',
  'voyage/voyage-4',
];

for (const model of embedders) {
  test(`embeddings: ${model}`, async () => {
    const input = ['The capital of France is Paris.', 'Invoices are paid within thirty days.'];
    // Without encoding_format the client asks for base64, and decodes it.
    const usual = await client.embeddings.create({ model, input });
    const numbers = await client.embeddings.create({ model, input, encoding_format: 'float' });
    for (const [index, entry] of numbers.data.entries()) {
      assert.equal(entry.index, index);
      assert.deepEqual(Array.from(Float32Array.from(entry.embedding)), Array.from(usual.data[index].embedding));
    }
    assert.ok(numbers.usage.total_tokens > 0);
    assert.equal(numbers.llmgateway.used_provider, model.split('/')[0]);
  });
}

test('a chat model is refused with its endpoint', async () => {
  await assert.rejects(client.embeddings.create({ model: 'openai/gpt-4o', input: 'a' }), (error) => {
    assert.equal(error.status, 400);
    assert.match(error.message, /\/v1\/chat\/completions/);
    return true;
  });
});
