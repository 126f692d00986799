"""Server reflection, as v1 and as v1alpha: the messages are the same, tools know the one or the other."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool
from google.protobuf.descriptor import FileDescriptor
from grpc_reflection.v1alpha import reflection_pb2 as pb
from grpc_reflection.v1alpha._async import ReflectionServicer

from jobwire_server.rpc.calls import Calls, Handler, Stream

SERVICES: Final = ("grpc.reflection.v1.ServerReflection", "grpc.reflection.v1alpha.ServerReflection")


class Reflection:
    """Answers what services there are, and what they look like."""

    def __init__(self, services: Iterable[str], files: Sequence[FileDescriptor]) -> None:
        names = sorted({*services, *SERVICES})
        self._servicer: Any = ReflectionServicer(names, pool=_pool_of((*files, pb.DESCRIPTOR)))

    def handlers(self, calls: Calls, service: str) -> dict[str, Handler]:
        """Return the methods of `service`, one of `SERVICES`."""
        method = "ServerReflectionInfo"
        return {method: calls.ungated_bidi(f"{service}/{method}", self._info)}

    async def _info(self, requests: AsyncIterator[bytes], stream: Stream) -> None:
        async with aclosing(self._servicer.ServerReflectionInfo(_decoded(requests), None)) as responses:
            async for response in responses:
                await stream.write(response.SerializeToString())


async def _decoded(requests: AsyncIterator[bytes]) -> AsyncIterator[pb.ServerReflectionRequest]:
    async for raw in requests:
        yield pb.ServerReflectionRequest.FromString(raw)


def _pool_of(files: Iterable[FileDescriptor]) -> descriptor_pool.DescriptorPool:
    """Return a pool with these files, what they import, and reflection's own description as v1."""
    pool = descriptor_pool.DescriptorPool()
    known: set[str] = set()
    for file in files:
        _add(pool, file, known)
    pool.AddSerializedFile(_reflection_v1().SerializeToString())
    return pool


def _add(pool: descriptor_pool.DescriptorPool, file: FileDescriptor, known: set[str]) -> None:
    if file.name in known:
        return
    known.add(file.name)
    for imported in file.dependencies:
        _add(pool, imported, known)
    pool.AddSerializedFile(_with_json_names(file).SerializeToString())


def _with_json_names(file: FileDescriptor) -> descriptor_pb2.FileDescriptorProto:
    """Name every field as ProtoJSON does: what Python keeps of a file leaves that out, and tools then differ."""
    described = descriptor_pb2.FileDescriptorProto.FromString(file.serialized_pb)
    waiting = list(described.message_type)
    while waiting:
        message = waiting.pop()
        waiting.extend(message.nested_type)
        for field in message.field:
            head, *rest = field.name.split("_")
            field.json_name = head + "".join(part.capitalize() for part in rest)
    return described


def _reflection_v1() -> descriptor_pb2.FileDescriptorProto:
    """v1 differs from v1alpha in the name of its package, and in nothing else."""
    alpha = _with_json_names(pb.DESCRIPTOR)
    alpha.name = "grpc/reflection/v1/reflection.proto"
    alpha.package = "grpc.reflection.v1"
    for message in alpha.message_type:
        for field in (field for field in message.field if field.type_name):
            field.type_name = field.type_name.replace(".v1alpha.", ".v1.")
    for method in alpha.service[0].method:
        method.input_type = method.input_type.replace(".v1alpha.", ".v1.")
        method.output_type = method.output_type.replace(".v1alpha.", ".v1.")
    return alpha
