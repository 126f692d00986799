// Submits one job and watches it to its end: node submit_and_watch.js TYPE JSON. See README.md.
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { connect, jsonPayload, JobService, Status, textOf } from './contract.js';

const PATIENCE_MS = 60_000; // how long the server may be away
const PASSING = [Status.UNAVAILABLE, Status.DEADLINE_EXCEEDED, Status.RESOURCE_EXHAUSTED];

/** Calls `attempt` until it returns. It may call `seen` when the server was heard, which renews the patience. */
async function persist(attempt) {
  let until = Date.now() + PATIENCE_MS;
  const seen = () => (until = Date.now() + PATIENCE_MS);
  for (;;) {
    try {
      return await attempt(seen);
    } catch (error) {
      if (!PASSING.includes(error.code) || Date.now() > until) throw error;
      console.error('trying again:', error.details);
      await sleep(500);
    }
  }
}

/** Returns the id of the job. The request may arrive twice: its request_id makes it one job. */
async function submit(jobs, request) {
  const { job } = await persist(() => new Promise((resolve, reject) => {
    const deadline = Date.now() + 10_000;
    jobs.submitJob(request, { deadline }, (error, answer) => (error ? reject(error) : resolve(answer)));
  }));
  console.error('job', job.jobId);
  return job.jobId;
}

/** Returns the terminal status. Each new call goes on after the last revision seen. */
async function watch(jobs, jobId) {
  let last;
  await persist(async (seen) => {
    for await (const { status } of jobs.watchJob({ jobId, view: 'JOB_VIEW_FULL', afterRevision: last?.revision })) {
      seen();
      last = status;
      console.error(line(status));
    } // the stream ends with OK after the terminal status
  });
  return last;
}

function line({ state, attempt, maxAttempts, progressPercent, progressMessage }) {
  let text = state.replace('JOB_STATE_', '');
  if (attempt) text += ` attempt ${attempt}/${maxAttempts}`;
  if (progressPercent !== undefined) text += ` ${progressPercent.toFixed(0)}% ${progressMessage ?? ''}`;
  return text;
}

async function main([type, json, ...rest]) {
  if (json === undefined || rest.length) {
    console.error('usage: submit_and_watch TYPE JSON');
    return 2;
  }
  const jobs = connect(JobService);
  const spec = { queue: process.env.JOBWIRE_QUEUE, type, payload: jsonPayload(json) };
  const job = await watch(jobs, await submit(jobs, { spec, requestId: randomUUID() }));
  jobs.close();
  switch (job.state) {
    case 'JOB_STATE_COMPLETED':
      console.log(textOf(job.result));
      return 0;
    case 'JOB_STATE_FAILED':
      console.error(`failed after ${job.attempt} attempts: ${job.lastError?.type}: ${job.lastError?.message}`);
      return 3;
    default: // cancelled or expired
      return 4;
  }
}

try {
  process.exitCode = await main(process.argv.slice(2));
} catch (error) {
  console.error('error:', error.message);
  process.exitCode = 1;
}
