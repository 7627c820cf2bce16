// Asks a server through the `openai` package and prints what came, as JSON. The job comes on stdin.
import { readFileSync } from 'node:fs';
import OpenAI, { AzureOpenAI } from 'openai';

const { url, model, deployment, texts } = JSON.parse(readFileSync(0, 'utf8'));
const sent = []; // bodies as they went out: what the client asks for by default
const fetch = (to, init) => {
  if (init.body) sent.push(JSON.parse(init.body));
  return globalThis.fetch(to, init);
};
const given = { apiKey: 'the-key', maxRetries: 0, fetch };
const openai = new OpenAI({ baseURL: `${url}/v1`, ...given });
const azure = new AzureOpenAI({ endpoint: url, apiVersion: '2024-10-21', ...given });
const wrong = new OpenAI({ baseURL: `${url}/v1`, ...given, apiKey: 'wrong' });

const refusal = async (asked) => {
  try {
    return { answered: await asked };
  } catch ({ constructor, status, code, param, type, message, requestID }) {
    return { name: constructor.name, status, code, param, type, message, requestID };
  }
};

console.log(
  JSON.stringify({
    one: await openai.embeddings.create({ model, input: texts[0] }),
    several: await openai.embeddings.create({ model, input: texts }),
    floats: await openai.embeddings.create({ model, input: texts, encoding_format: 'float' }),
    azure: await azure.embeddings.create({ model: deployment, input: texts }),
    models: (await openai.models.list()).data.map(({ id }) => id),
    refused: {
      model: await refusal(openai.embeddings.create({ model: 'no-such-model', input: 'x' })),
      empty: await refusal(openai.embeddings.create({ model, input: '' })),
      key: await refusal(wrong.embeddings.create({ model, input: 'x' })),
      deployment: await refusal(azure.embeddings.create({ model: 'no-such-deployment', input: 'x' })),
    },
    sent,
  }),
);
