// The leases held: from their assignment until the outcome is acked or the lease is lost.
import { milliseconds } from './contract.js';
import { Cancelled, Release, run } from './handlers.js';

const ITEMS_PER_FRAME = 256;

const keyOf = (token) => token.toString('base64');
/** What is reported in the place of an outcome that the server does not take. */
const refusal = (message) => ({ failure: { error: { type: 'OutcomeRefused', message, retryable: false } } });

const leaving = () => new Release('the worker is leaving');

export class Leases {
  #jobs = new Map();
  #isLeaving = false;
  maxBytes = Infinity; // most that the server takes in an outcome

  /** `say` takes a frame for the stream, if there is one; `onEmpty` is called when the last lease is gone. */
  constructor(say, onEmpty) {
    this.say = say;
    this.onEmpty = onEmpty;
  }

  get size() {
    return this.#jobs.size;
  }

  tokens() {
    return [...this.#jobs.values()].map((job) => job.leaseToken);
  }

  /** Takes what a frame says about leases. */
  receive({ assignments = [], outcomeAcks = [], leaseStates = [], cancelOrders = [] }) {
    assignments.forEach((assignment) => this.#start(assignment));
    outcomeAcks.forEach((ack) => this.#acked(ack));
    leaseStates.forEach((lease) => this.renewed(lease));
    for (const { leaseToken, reason } of cancelOrders) this.#find(leaseToken)?.stop(new Cancelled(reason));
  }

  /** Names every lease held; with none it only says that the worker is there. */
  heartbeat() {
    const leaseUpdates = this.tokens().map((leaseToken) => ({ leaseToken }));
    do this.say({ leaseUpdates: leaseUpdates.splice(0, ITEMS_PER_FRAME) });
    while (leaseUpdates.length);
  }

  /** Tells a new stream everything that is not acked. */
  tellAll() {
    this.#jobs.forEach((job) => this.#tell(job));
  }

  /** Jobs that come now cross our goodbye: they go straight back. */
  leave() {
    this.#isLeaving = true;
  }

  /** Gives back what handlers have not finished. */
  giveBack() {
    this.#jobs.forEach((job) => job.stop(leaving()));
  }

  renewed({ leaseToken, valid, remaining, cancelRequested }) {
    const job = this.#find(leaseToken);
    if (!job) return;
    if (!valid) {
      this.#drop(job);
      return;
    }
    this.#expectEnd(job, remaining);
    if (cancelRequested) job.stop(new Cancelled('cancel requested'));
  }

  #find(leaseToken) {
    return this.#jobs.get(keyOf(leaseToken));
  }

  /** Says what the server has to hear of a job. A job a frame is never out of bounds. */
  #tell({ update, outcome }) {
    // The next attempt needs the checkpoint. In a frame of its own it could be overtaken by the outcome.
    const leaseUpdates = update && !outcome?.success ? [update] : [];
    const outcomes = outcome ? [outcome] : [];
    if (update || outcome) this.say({ leaseUpdates, outcomes });
  }

  async #start(assignment) {
    const { leaseToken, jobId } = assignment;
    const controller = new AbortController();
    const job = { leaseToken, jobId, stop: (reason) => controller.abort(reason) };
    this.#jobs.set(keyOf(leaseToken), job);
    this.#expectEnd(job, assignment.leaseRemaining);
    if (this.#isLeaving) job.stop(leaving());
    const outcome = await run(assignment, controller.signal, (news) => {
      job.update = { ...job.update, ...news, leaseToken }; // a checkpoint is kept beside newer progress
      if (this.#find(leaseToken) === job) this.#tell(job);
    });
    this.#finish(job, outcome);
  }

  /** Keeps the outcome until it is acked. */
  #finish(job, outcome) {
    if (this.#find(job.leaseToken) !== job) return; // lost meanwhile: nothing to report
    const bytes = outcome.success?.result?.data?.length ?? 0;
    if (bytes > this.maxBytes) { // the server would end the stream, each time
      this.#finish(job, refusal(`the result has ${bytes} bytes, and a frame at most ${this.maxBytes}`));
      return;
    }
    job.outcome = { leaseToken: job.leaseToken, ...outcome };
    this.#tell(job);
  }

  /** Drops the job when its lease ends by our own clock. An outcome is kept: the server may have it. */
  #expectEnd(job, remaining) {
    clearTimeout(job.leaseEnd);
    job.leaseEnd = setTimeout(() => job.outcome || this.#drop(job), milliseconds(remaining));
  }

  #drop(job) {
    job.stop(new Error('the lease is over'));
    clearTimeout(job.leaseEnd);
    this.#jobs.delete(keyOf(job.leaseToken));
    if (!this.size) this.onEmpty();
  }

  #acked({ leaseToken, code, message }) {
    const job = this.#find(leaseToken);
    if (!job?.outcome) return; // overtaken by the loss of the lease, or a repetition
    if (code === 'OUTCOME_CODE_RETRY') {
      setTimeout(() => this.#finish(job, job.outcome), 1000);
    } else if (code === 'OUTCOME_CODE_INVALID' && !job.outcome.failure) {
      console.error(`worker: job ${job.jobId}: the outcome is refused: ${message}`);
      this.#finish(job, refusal(message));
    } else this.#drop(job); // recorded, or too late for good
  }
}
