"""docs/reference/protocol.md: the contract's comments as one page."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    MethodDescriptorProto,
    MethodOptions,
    ServiceDescriptorProto,
)

from tools.markdown import generated_from, table

PACKAGE: Final = "jobwire.v1"

# Field numbers of descriptor.proto: what the paths of source locations are made of.
_MESSAGE, _ENUM, _SERVICE = 4, 5, 6
_FIELD_OF_MESSAGE, _VALUE_OF_ENUM, _METHOD_OF_SERVICE = 2, 2, 2

_SCALARS: Final = {
    FieldDescriptorProto.TYPE_DOUBLE: "double",
    FieldDescriptorProto.TYPE_FLOAT: "float",
    FieldDescriptorProto.TYPE_INT64: "int64",
    FieldDescriptorProto.TYPE_UINT64: "uint64",
    FieldDescriptorProto.TYPE_INT32: "int32",
    FieldDescriptorProto.TYPE_UINT32: "uint32",
    FieldDescriptorProto.TYPE_BOOL: "bool",
    FieldDescriptorProto.TYPE_STRING: "string",
    FieldDescriptorProto.TYPE_BYTES: "bytes",
}

_INTRODUCTION: Final = """\
# Protocol

Every RPC, message, field and enum value of the package `jobwire.v1`, with the comments of the `.proto` files, which are
the contract. `jobwire proto --out DIR` writes the files themselves, and a running server answers reflection
(`grpcurl -plaintext localhost:7780 list`). The server also serves `grpc.health.v1.Health`.

Reasons of errors, with what to do about each: [errors.md](errors.md). States: [state-machine.md](state-machine.md).
"""


class Comments:
    """The leading comments of a file, by the path of what they stand above."""

    def __init__(self, file: FileDescriptorProto) -> None:
        self._by_path = {
            tuple(location.path): location.leading_comments
            for location in file.source_code_info.location
            if location.leading_comments
        }

    def at(self, *path: int) -> str:
        """The comment at a path, its lines as written, without the space after the slashes."""
        lines = self._by_path.get(path, "").rstrip("\n").split("\n")
        return "\n".join(line.removeprefix(" ") for line in lines)


class Part(NamedTuple):
    """One section of the page: what it is about, and its text."""

    name: str
    text: str


def read_contract(protos: Path) -> FileDescriptorSet:
    """Compile the `.proto` files below `protos`, comments included, with the buf of this environment."""
    buf = Path(sys.executable).with_name("buf")
    done = subprocess.run([buf, "build", "--output", "-"], cwd=protos, capture_output=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"buf could not read the contract: {done.stderr.decode(errors='replace').strip()}")
    # A buf image is a FileDescriptorSet with some fields more.
    return FileDescriptorSet.FromString(done.stdout)


def render(contract: FileDescriptorSet) -> str:
    """Return the page."""
    files = sorted((file for file in contract.file if file.package == PACKAGE), key=lambda file: file.name)
    services = [part for file in _services_first(files) for part in _services(file)]
    messages = sorted(part for file in files for part in _messages(file))
    enums = sorted(part for file in files for part in _enums(file))
    blocks = [generated_from("`protos/`"), _INTRODUCTION.rstrip()]
    blocks += [part.text for part in services]
    blocks += ["## Messages", *(part.text for part in messages), "## Enums", *(part.text for part in enums)]
    return "\n\n".join(blocks) + "\n"


def _services_first(files: Iterable[FileDescriptorProto]) -> list[FileDescriptorProto]:
    """Files by the size of their services: the main one comes first."""
    return sorted(files, key=lambda file: -max((len(service.method) for service in file.service), default=0))


def _services(file: FileDescriptorProto) -> Iterator[Part]:
    comments = Comments(file)
    for index, service in enumerate(file.service):
        text = [f"## {service.name}", comments.at(_SERVICE, index), _rpc_overview(service)]
        for number, method in enumerate(service.method):
            text.append(_rpc(service, method, comments.at(_SERVICE, index, _METHOD_OF_SERVICE, number)))
        yield Part(service.name, "\n\n".join(text))


def _rpc_overview(service: ServiceDescriptorProto) -> str:
    rows = (
        (
            f"[{method.name}](#{_anchor(f'{service.name}.{method.name}')})",
            "stream" if method.server_streaming else "unary",
            "yes" if _is_read_only(method) else "no",
        )
        for method in service.method
    )
    return table(("RPC", "Kind", "Declared free of side effects"), rows)


def _is_read_only(method: MethodDescriptorProto) -> bool:
    return method.options.idempotency_level == MethodOptions.NO_SIDE_EFFECTS


def _rpc(service: ServiceDescriptorProto, method: MethodDescriptorProto, comment: str) -> str:
    request, response = _type_link(method.input_type), _type_link(method.output_type)
    stream = "stream of " if method.server_streaming else ""
    return f"### {service.name}.{method.name}\n\n{request} → {stream}{response}\n\n{comment}"


def _messages(file: FileDescriptorProto) -> Iterator[Part]:
    comments = Comments(file)
    for index, message in enumerate(file.message_type):
        text = [f"### {message.name}", comments.at(_MESSAGE, index)]
        if message.field:
            text.append(_fields(message, comments, (_MESSAGE, index)))
        yield Part(message.name, "\n\n".join(text))


def _fields(message: DescriptorProto, comments: Comments, path: Sequence[int]) -> str:
    maps = {nested.name: nested for nested in message.nested_type if nested.options.map_entry}
    rows = []
    for index, field in enumerate(message.field):
        comment = comments.at(*path, _FIELD_OF_MESSAGE, index)
        if field.HasField("oneof_index") and not field.proto3_optional:
            oneof = message.oneof_decl[field.oneof_index].name
            comment = f"One of `{oneof}`. {comment}"
        rows.append((f"`{field.name}`", str(field.number), _type_of(field, maps), comment))
    return table(("Field", "No.", "Type", "Meaning"), rows)


def _type_of(field: FieldDescriptorProto, maps: Mapping[str, DescriptorProto]) -> str:
    name = _SCALARS.get(field.type) or _type_link(field.type_name)
    entry = maps.get(field.type_name.rpartition(".")[2])
    if entry is not None:
        key, value = (_SCALARS.get(part.type) or _type_link(part.type_name) for part in entry.field)
        return f"map of {key} to {value}"
    if field.label == FieldDescriptorProto.LABEL_REPEATED:
        return f"repeated {name}"
    return f"optional {name}" if field.proto3_optional else name


def _type_link(full_name: str) -> str:
    name = full_name.removeprefix(".")
    if name.startswith(f"{PACKAGE}."):
        short = name.removeprefix(f"{PACKAGE}.")
        return f"[{short}](#{_anchor(short)})"
    return f"`{name}`"


def _anchor(heading: str) -> str:
    """What a Markdown renderer makes of a heading: lower case, no punctuation."""
    return "".join(character for character in heading.lower() if character.isalnum() or character in "-_")


def _enums(file: FileDescriptorProto) -> Iterator[Part]:
    comments = Comments(file)
    for index, enum in enumerate(file.enum_type):
        text = [f"### {enum.name}", comments.at(_ENUM, index), _values(enum, comments, (_ENUM, index))]
        yield Part(enum.name, "\n\n".join(text))


def _values(enum: EnumDescriptorProto, comments: Comments, path: Sequence[int]) -> str:
    rows = (
        (f"`{value.name}`", str(value.number), comments.at(*path, _VALUE_OF_ENUM, index))
        for index, value in enumerate(enum.value)
    )
    return table(("Value", "No.", "Meaning"), rows)
