// Runs the handler of index.mjs against the Lambda Runtime API. Lambda's own managed runtime has a native client (its npm package
// has to be compiled) and does more around it: console, tracing, callbacks, streams, errors of init. This loop does less.

import { Agent, request } from "node:http";
import { handler } from "./index.mjs";

const [host, port] = process.env.AWS_LAMBDA_RUNTIME_API.split(":");
const agent = new Agent({ keepAlive: true, maxSockets: 1 });

function call(method, path, value) {
  const body = value === undefined ? undefined : JSON.stringify(value);
  const headers = body === undefined ? {} : { "content-length": Buffer.byteLength(body) };
  return new Promise((resolve, reject) => {
    const outgoing = request(
      { host, port, agent, method, path: `/2018-06-01/runtime/${path}`, headers },
      async (incoming) => {
        try {
          const chunks = await incoming.toArray();
          resolve({ headers: incoming.headers, body: Buffer.concat(chunks).toString() });
        } catch (error) {
          reject(error);
        }
      },
    );
    outgoing.on("error", reject);
    outgoing.end(body);
  });
}

for (;;) {
  const invocation = await call("GET", "invocation/next");
  const id = invocation.headers["lambda-runtime-aws-request-id"];
  try {
    const answer = await handler(JSON.parse(invocation.body));
    await call("POST", `invocation/${id}/response`, answer);
  } catch (error) {
    console.error(error);
    const failure = { errorType: error.name, errorMessage: error.message, stackTrace: [] };
    await call("POST", `invocation/${id}/error`, failure);
  }
}
