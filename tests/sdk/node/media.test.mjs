// Recordings, speech and images by OpenAI's own client.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { toFile } from 'openai';
import { client, png } from './gateway.mjs';

// A second of 16 bits at 16 kHz is 32,000 bytes.
const sound = Buffer.alloc(64_000, 7);
const heard = 'I heard 64000 bytes of talk.wav.';
const talk = () => toFile(sound, 'talk.wav', { type: 'audio/wav' });
const image = () => toFile(Buffer.from(png, 'base64'), 'a.png', { type: 'image/png' });

test('a recording is transcribed, also with the model after the file', async () => {
  for (const order of [
    { model: 'openai/whisper-1', file: await talk() },
    { file: await talk(), model: 'openai/whisper-1' },
  ]) {
    const answer = await client.audio.transcriptions.create(order);
    assert.equal(answer.text, heard);
    assert.equal(answer.usage.seconds, 2);
    assert.equal(answer.llmgateway.used_model, 'whisper-1');
  }
});

test('a large recording, also with the model after the file', async () => {
  const large = await toFile(Buffer.alloc(12 << 20), 'long.wav');
  for (const order of [
    { model: 'openai/whisper-1', file: large },
    { file: large, model: 'openai/whisper-1' },
  ]) {
    const answer = await client.audio.transcriptions.create(order);
    assert.equal(answer.text, `I heard ${12 << 20} bytes of long.wav.`);
  }
});

test('subtitles, and times of words', async () => {
  const model = 'openai/whisper-1';
  const srt = await client.audio.transcriptions.create({ model, file: await talk(), response_format: 'srt' });
  assert.match(srt, /00:00:00,000 --> 00:00:02,000/);
  const verbose = await client.audio.transcriptions.create({
    model, file: await talk(), response_format: 'verbose_json', timestamp_granularities: ['word'],
  });
  assert.deepEqual(verbose.words.map((word) => word.word), heard.split(' '));
});

test('a streamed transcript', async () => {
  const stream = await client.audio.transcriptions.create({ model: 'openai/gpt-4o-transcribe', file: await talk(), stream: true });
  let text = '';
  let last;
  for await (const event of stream) {
    if (event.type === 'transcript.text.delta') text += event.delta;
    last = event;
  }
  assert.equal(text, heard);
  assert.equal(last.type, 'transcript.text.done');
});

test('a translation', async () => {
  const answer = await client.audio.translations.create({ model: 'openai/whisper-1', file: await talk() });
  assert.equal(answer.text, heard);
});

test('speech', async () => {
  const answer = await client.audio.speech.create({ model: 'openai/tts-1', voice: 'alloy', input: 'two words', response_format: 'wav' });
  assert.equal(answer.headers.get('content-type'), 'audio/wav');
  assert.equal(Buffer.from(await answer.arrayBuffer()).subarray(0, 4).toString(), 'RIFF');
});

test('images are made and edited, whole and streamed', async () => {
  const model = 'openai/gpt-image-2';
  const made = await client.images.generate({ model, prompt: 'a fox' });
  assert.ok(made.data[0].b64_json.length > 0);
  const edited = await client.images.edit({ model, prompt: 'a hat', image: [await image(), await image()], n: 2 });
  assert.equal(edited.data.length, 2);
  for (const [kind, stream] of [
    ['image_generation', await client.images.generate({ model, prompt: 'a fox', stream: true, partial_images: 1 })],
    ['image_edit', await client.images.edit({ model, prompt: 'a fox', image: await image(), stream: true, partial_images: 1 })],
  ]) {
    const types = [];
    for await (const event of stream) types.push(event.type);
    assert.deepEqual(types, [`${kind}.partial_image`, `${kind}.completed`]);
  }
});

test('a model at the wrong endpoint is refused with its own endpoint', async () => {
  await assert.rejects(client.audio.transcriptions.create({ model: 'openai/tts-1', file: await talk() }), /\/v1\/audio\/speech/);
});
