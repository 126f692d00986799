// Runs jobs of the type "conformance" over the Work stream: node worker.js. See README.md.
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, isRefusal, milliseconds, WorkerService } from './contract.js';
import { Cancelled, Release, run } from './handlers.js';

const [SHORTEST_BACKOFF_MS, LONGEST_BACKOFF_MS] = [200, 3000];
const SILENCE_MS = 45_000; // the server sends something every 15 s
const ITEMS_PER_FRAME = 256;
const FINISH_MS = 2000; // what handlers have after SIGTERM to end by themselves, then their jobs are given back
const LEAVE_MS = 9000; // what the server has not acked by then runs out with its lease

const keyOf = (token) => token.toString('base64');
const leaving = () => new Release('the worker is leaving');
const log = (...words) => console.error('worker:', ...words);

class Worker {
  jobs = new Map(); // the leases held, by token: from the assignment until the outcome is acked or the lease is lost
  stream = null; // the newest one that was welcomed: only it is written to
  isLeaving = false;

  constructor(client, hello) {
    this.client = client;
    this.hello = hello;
  }

  /** Keeps a stream open until the worker has left. */
  async serve() {
    for (let delay = SHORTEST_BACKOFF_MS; !this.hasLeft(); delay = Math.min(2 * delay, LONGEST_BACKOFF_MS)) {
      const { welcomed, end } = await this.open();
      if (isRefusal(end?.code)) throw new Error(`the server refuses this worker: ${end.details}`);
      if (welcomed) delay = SHORTEST_BACKOFF_MS;
      if (this.hasLeft()) return;
      if (end?.code) log('no stream, trying again:', end.details);
      await sleep(Math.random() * delay);
    }
  }

  /** Opens a stream; resolves when the next one is due. What is in the air on this one is still received. */
  open() {
    return new Promise((resolve) => {
      const stream = this.client.work();
      const watchdog = setTimeout(() => stream.cancel(), SILENCE_MS);
      let beat;
      stream.on('data', (frame) => {
        watchdog.refresh();
        if (frame.welcome) {
          const interval = milliseconds(frame.welcome.heartbeatInterval);
          beat = setInterval(() => this.heartbeat(stream), (interval * 2) / 3);
          this.welcome(stream, frame.welcome);
        }
        this.receive(stream, frame);
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
        if (this.stream === stream) this.stream = null;
        resolve({ welcomed: beat !== undefined, end });
      });
      const heldLeaseTokens = [...this.jobs.values()].map((job) => job.leaseToken);
      stream.write({ hello: { ...this.hello, heldLeaseTokens } });
    });
  }

  /** Makes this the stream that the worker speaks on. It has been told nothing yet. */
  welcome(stream, { sessionId, leases = [] }) {
    log(`stream ${sessionId}: ${leases.length} leases held`);
    leases.forEach((lease) => this.renewed(lease));
    this.stream?.end();
    this.stream = stream;
    if (this.isLeaving) stream.write({ maxInFlight: 0 });
    for (const job of this.jobs.values()) {
      if (job.update) stream.write({ leaseUpdates: [job.update] });
      if (job.outcome) stream.write({ outcomes: [job.outcome] });
    }
    this.goIfDone();
  }

  receive(stream, { assignments = [], outcomeAcks = [], leaseStates = [], cancelOrders = [], pingId }) {
    assignments.forEach((assignment) => this.start(assignment));
    outcomeAcks.forEach((ack) => this.acked(ack));
    leaseStates.forEach((lease) => this.renewed(lease));
    for (const { leaseToken, reason } of cancelOrders) this.find(leaseToken)?.stop(new Cancelled(reason));
    if (pingId && stream === this.stream) stream.write({ pongId: pingId });
  }

  /** Names every lease held; with none it only says that the worker is there. */
  heartbeat(stream) {
    if (stream !== this.stream) return;
    const leaseUpdates = [...this.jobs.values()].map(({ leaseToken }) => ({ leaseToken }));
    do stream.write({ leaseUpdates: leaseUpdates.splice(0, ITEMS_PER_FRAME) });
    while (leaseUpdates.length);
  }

  find(leaseToken) {
    return this.jobs.get(keyOf(leaseToken));
  }

  async start(assignment) {
    const { leaseToken } = assignment;
    const controller = new AbortController();
    const job = { leaseToken, jobId: assignment.jobId, stop: (reason) => controller.abort(reason) };
    this.jobs.set(keyOf(leaseToken), job);
    this.expect(job, assignment.leaseRemaining);
    if (this.isLeaving) job.stop(leaving()); // it crossed our goodbye
    const outcome = await run(assignment, controller.signal, (news) => {
      job.update = { ...job.update, ...news, leaseToken }; // a checkpoint is kept beside newer progress
      if (this.find(leaseToken) === job) this.stream?.write({ leaseUpdates: [job.update] });
    });
    this.finish(job, outcome);
  }

  /** Keeps the outcome until it is acked; an item a frame is never out of bounds. */
  finish(job, outcome) {
    if (this.find(job.leaseToken) !== job) return; // lost meanwhile: nothing to report
    job.outcome = { leaseToken: job.leaseToken, ...outcome };
    this.stream?.write({ outcomes: [job.outcome] });
  }

  /** Ends the job when the lease has ended by our own clock; an outcome is kept: the server may have it. */
  expect(job, remaining) {
    clearTimeout(job.lease);
    job.lease = setTimeout(() => job.outcome || this.drop(job), milliseconds(remaining));
  }

  drop(job) {
    job.stop(new Error('the lease is over'));
    clearTimeout(job.lease);
    this.jobs.delete(keyOf(job.leaseToken));
    this.goIfDone();
  }

  acked({ leaseToken, code, message }) {
    const job = this.find(leaseToken);
    if (!job?.outcome) return; // overtaken by the loss of the lease, or a repetition
    if (code === 'OUTCOME_CODE_RETRY') {
      setTimeout(() => this.finish(job, job.outcome), 1000);
    } else if (code === 'OUTCOME_CODE_INVALID' && !job.outcome.failure) {
      log(`job ${job.jobId}: the outcome is refused: ${message}`);
      this.finish(job, { failure: { error: { type: 'OutcomeRefused', message, retryable: false } } });
    } else this.drop(job); // recorded, or too late for good
  }

  renewed({ leaseToken, valid, remaining, cancelRequested }) {
    const job = this.find(leaseToken);
    if (!job) return;
    if (!valid) return this.drop(job);
    this.expect(job, remaining);
    if (cancelRequested) job.stop(new Cancelled('cancel requested'));
  }

  /** Takes nothing new; `serve` returns when what is held is acked. */
  leave() {
    log(`leaving: ${this.jobs.size} jobs to finish`);
    this.isLeaving = true;
    this.hello.maxInFlight = 0;
    this.stream?.write({ maxInFlight: 0 });
    setTimeout(() => this.jobs.forEach((job) => job.stop(leaving())), FINISH_MS).unref();
    this.goIfDone();
  }

  hasLeft = () => this.isLeaving && this.jobs.size === 0;

  /** Half-closes; the server acks what it has and ends the stream with OK. */
  goIfDone() {
    if (!this.hasLeft()) return;
    this.stream?.end();
    this.stream = null;
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
