"""The transport over the wire: `jobwire.worker.transport.Transport` on `WorkerService.Work`."""
