// Runs jobs of the type "conformance" over the Work stream: node worker.js. See README.md.
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, isRefusal, milliseconds, WorkerService } from './contract.js';
import { Leases } from './leases.js';

const [SHORTEST_BACKOFF_MS, LONGEST_BACKOFF_MS] = [200, 3000];
const ENVELOPE_BYTES = 4096; // of a frame around its result, at most
const SILENCE_MS = 45_000; // the server sends something every 15 s
const FINISH_MS = 2000; // what handlers have after SIGTERM to end by themselves, then their jobs are given back
const LEAVE_MS = 9000; // what the server has not acked by then runs out with its lease

const log = (...words) => console.error('worker:', ...words);

class Worker {
  #client;
  #hello;
  #stream = null; // the newest one that was welcomed: only it is written to
  #isLeaving = false;
  #leases = new Leases((frame) => this.#stream?.write(frame), () => this.#goIfDone());

  constructor(client, hello) {
    this.#client = client;
    this.#hello = hello;
  }

  /** Keeps a stream open until the worker has left. */
  async serve() {
    for (let delay = SHORTEST_BACKOFF_MS; !this.#hasLeft(); delay = Math.min(2 * delay, LONGEST_BACKOFF_MS)) {
      const { welcomed, end } = await this.#open();
      if (isRefusal(end?.code)) throw new Error(`the server refuses this worker: ${end.details}`);
      if (welcomed) delay = SHORTEST_BACKOFF_MS;
      if (this.#hasLeft()) return;
      if (end?.code) log('no stream, trying again:', end.details);
      await sleep(Math.random() * delay);
    }
  }

  /** Takes nothing new; `serve` returns when what is held is acked. */
  leave() {
    log(`leaving: ${this.#leases.size} jobs to finish`);
    this.#isLeaving = true;
    this.#leases.leave();
    this.#stream?.write({ maxInFlight: 0 });
    setTimeout(() => this.#leases.giveBack(), FINISH_MS).unref();
    this.#goIfDone();
  }

  /** Opens a stream; resolves when the next one is due. What is in the air on this one is still received. */
  #open() {
    return new Promise((resolve) => {
      const stream = this.#client.work();
      const watchdog = setTimeout(() => stream.cancel(), SILENCE_MS);
      let beat;
      stream.on('data', (frame) => {
        watchdog.refresh();
        if (frame.welcome) {
          const interval = milliseconds(frame.welcome.heartbeatInterval);
          beat = setInterval(() => this.#stream === stream && this.#leases.heartbeat(), (interval * 2) / 3);
          this.#welcome(stream, frame.welcome);
        }
        this.#leases.receive(frame);
        if (frame.pingId && this.#stream === stream) stream.write({ pongId: frame.pingId });
        if (frame.drain && frame.drain.reason !== 'REPLACED') { // replaced: the newer stream is ours
          log('the server wants a new stream:', frame.drain.reason);
          const wait = milliseconds(frame.drain.reconnectDelay);
          setTimeout(() => resolve({ welcomed: true }), wait * (1 + Math.random()));
        }
      });
      stream.on('error', () => {}); // the status says it too
      stream.on('status', (end) => {
        clearTimeout(watchdog);
        clearInterval(beat);
        if (this.#stream === stream) this.#stream = null;
        resolve({ welcomed: beat !== undefined, end });
      });
      const maxInFlight = this.#isLeaving ? 0 : this.#hello.maxInFlight;
      stream.write({ hello: { ...this.#hello, maxInFlight, heldLeaseTokens: this.#leases.tokens() } });
    });
  }

  /** Makes this the stream that the worker speaks on. It has been told nothing yet. */
  #welcome(stream, { sessionId, leases = [], maxFrameBytes }) {
    log(`stream ${sessionId}: ${leases.length} leases held`);
    this.#leases.maxBytes = maxFrameBytes - ENVELOPE_BYTES;
    leases.forEach((lease) => this.#leases.renewed(lease));
    this.#stream?.end();
    this.#stream = stream;
    if (this.#isLeaving) stream.write({ maxInFlight: 0 });
    this.#leases.tellAll();
    this.#goIfDone();
  }

  #hasLeft() {
    return this.#isLeaving && this.#leases.size === 0;
  }

  /** Half-closes; the server acks what it has and ends the stream with OK. */
  #goIfDone() {
    if (!this.#hasLeft()) return;
    this.#stream?.end();
    this.#stream = null;
  }
}

const env = (name, otherwise) => process.env[name] || otherwise;
const client = connect(WorkerService);
const worker = new Worker(client, {
  workerId: env('JOBWIRE_WORKER_ID', `node-${process.pid}`),
  instanceId: randomUUID(),
  queues: [{ queue: env('JOBWIRE_QUEUE', 'default') }],
  types: ['conformance'],
  maxInFlight: Number(env('JOBWIRE_SLOTS', 8)),
  userAgent: 'jobwire-example-node/1',
});
const giveUp = (reason) => {
  log(reason);
  process.exit(1);
};
for (const signal of ['SIGTERM', 'SIGINT']) {
  process.once(signal, () => { // a second one ends the process at once
    worker.leave();
    setTimeout(giveUp, LEAVE_MS, 'left without a goodbye: the server cannot be reached').unref();
  });
}
await worker.serve().catch((error) => giveUp(error.message));
client.close();
