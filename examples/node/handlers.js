// What jobs of the type "conformance" do. Put your own here.
import { setTimeout as sleepFor } from 'node:timers/promises';
import { duration, jsonPayload, textOf } from './contract.js';

/** Says how the job goes on. Any other error of a handler is retried as the policy says. */
class Failed extends Error {
  constructor(type, message, { retryable = false, delay } = {}) {
    super(message);
    this.failure = { error: { type, message, retryable }, retryDelay: delay && duration(delay) };
  }
}

/** Gives the job back; the attempt does not count. */
export class Release extends Error {}

/** The reason of a signal when the job was cancelled. */
export class Cancelled extends Error {}

const boom = (options) => new Failed('Boom', 'failed as asked', options);

async function sleep(seconds, signal) {
  try {
    await sleepFor(seconds * 1000, undefined, { signal });
  } catch {
    throw signal.reason;
  }
}

const ACTIONS = {
  echo: ({ value }) => value,
  fail: () => { throw boom({ retryable: true }); },
  fail_for_good: () => { throw boom(); },
  async sleep({ seconds }, job, { signal }) {
    await sleep(seconds, signal);
    return { slept: seconds };
  },
  async progress({ steps }, job, { signal, update }) {
    for (let i = 1; i <= steps; i++) {
      update({ progressPercent: (100 * i) / steps, progressMessage: `step ${i} of ${steps}` });
      await sleep(0.1, signal);
    }
    return { steps };
  },
  release(_, { fence }) {
    if (fence === 1) throw new Release('the payload asks for it');
    return { fence };
  },
  retry_after({ seconds }, { attempt }) {
    if (attempt === 1) throw boom({ retryable: true, delay: seconds });
    return { attempt };
  },
  checkpoint(_, { attempt, checkpoint }, { update }) {
    if (attempt > 1) return checkpoint ? JSON.parse(textOf(checkpoint)) : null;
    update({ checkpoint: jsonPayload('{"i": 7}') });
    throw boom({ retryable: true });
  },
  follow_up({ type, value = null }, { queue }, { followUp }) {
    followUp({ spec: { queue, type, payload: jsonPayload(JSON.stringify(value)) } });
  },
  big: ({ bytes }) => 'x'.repeat(bytes),
};

function orderOf(assignment) {
  try {
    const order = JSON.parse(textOf(assignment.payload));
    if (Object.hasOwn(ACTIONS, order.do)) return order;
  } catch (error) {
    throw new Failed('BadPayload', error.message);
  }
  throw new Failed('BadPayload', 'there is no such thing to do');
}

/**
 * Runs one attempt and returns its outcome. `update` sends progress and checkpoints. When `signal` aborts, the handler
 * stops soon after: with Stopped if it was cancelled, and given back if the worker leaves.
 */
export async function run(assignment, signal, update) {
  const followUps = [];
  try {
    signal.throwIfAborted();
    const order = orderOf(assignment);
    const context = { signal, update, followUp: (request) => followUps.push(request) };
    const value = await ACTIONS[order.do](order, assignment, context);
    return { success: { result: jsonPayload(JSON.stringify(value ?? null)), followUps } };
  } catch (error) {
    if (error instanceof Cancelled) return { stopped: { reason: error.message } };
    if (error instanceof Release) return { release: { reason: error.message } };
    if (error instanceof Failed) return { failure: error.failure };
    return { failure: { error: { type: error.name, message: error.message, detail: error.stack, retryable: true } } };
  }
}
