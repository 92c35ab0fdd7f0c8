// The example of the README, word for word but for the address and the key.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import OpenAI from 'openai';
import * as gateway from './gateway.mjs';

const AsyncFunction = (async () => {}).constructor;

test('the example of the README', async (t) => {
  const readme = readFileSync(new URL('../../../README.md', import.meta.url), 'utf8');
  const block = readme.match(/```js\n(.*?)```/s)[1];
  const lines = [];
  t.mock.method(console, 'log', (line) => lines.push(line));
  // A function has no import: the package is its argument.
  const code = block.replace("import OpenAI from 'openai';", '').replace('http://127.0.0.1:4000', gateway.url);
  process.env.LLMGATEWAY_API_KEY = gateway.key;

  await new AsyncFunction('OpenAI', code)(OpenAI);

  assert.match(lines.join('\n'), /Paris/);
});
