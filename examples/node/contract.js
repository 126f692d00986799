// The contract, read from protos/ when a program starts: nothing is generated.
import { fileURLToPath } from 'node:url';
import grpc from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';

const protos = fileURLToPath(new URL('../../protos', import.meta.url));
const services = ['job_service', 'worker_service'].map((name) => `jobwire/v1/${name}.proto`);
const definition = loadSync(services, { includeDirs: [protos], enums: String, longs: Number, oneofs: true });
const { JobService, WorkerService } = grpc.loadPackageDefinition(definition).jobwire.v1;

/** Returns a client of JobService or WorkerService at JOBWIRE_ADDRESS. */
export function connect(Service) {
  const address = process.env.JOBWIRE_ADDRESS || '127.0.0.1:7780';
  // A channel's own backoff grows to two minutes: too long for a server that only restarts.
  const patience = { 'grpc.initial_reconnect_backoff_ms': 200, 'grpc.max_reconnect_backoff_ms': 3000 };
  return new Service(address, grpc.credentials.createInsecure(), patience);
}

/** Returns a payload of JSON text. */
export const jsonPayload = (text) => ({ contentType: 'application/json', data: Buffer.from(text) });

/** Returns the content of a payload as text, whichever arm holds it. */
export const textOf = (payload) => payload?.text ?? payload?.data?.toString() ?? '';

export const milliseconds = ({ seconds = 0, nanos = 0 } = {}) => seconds * 1000 + nanos / 1e6;

export const duration = (seconds) => ({ seconds: Math.trunc(seconds), nanos: Math.round((seconds % 1) * 1e9) });

export { JobService, WorkerService };
export const Status = grpc.status;

const REFUSALS = [Status.INVALID_ARGUMENT, Status.UNIMPLEMENTED, Status.UNAUTHENTICATED, Status.PERMISSION_DENIED];

/** True when calling again will not help. */
export const isRefusal = (code) => REFUSALS.includes(code);
