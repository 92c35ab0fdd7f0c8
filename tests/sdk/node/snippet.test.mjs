// The snippet of the documentation, word for word except the address and the key.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI from 'openai';
import * as gateway from './gateway.mjs';

test('the first request of the documentation', async (t) => {
  const lines = [];
  t.mock.method(console, 'log', (line) => lines.push(line));

  const client = new OpenAI ({
    baseURL: `${gateway.url}/v1`,
    apiKey: gateway.key ,
  });
  // Use Google's Gemini
  const response = await client . chat . completions . create ({
    model: 'google-ai-studio/gemini-2.0-flash-001' ,
    messages: [
      { role: 'user' , content: 'What is the capital of France?' },
    ],
  });
  console . log ( response . choices [ 0 ]. message . content );

  assert.match(lines.join('\n'), /Paris/);
});
