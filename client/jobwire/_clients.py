"""The clients of an app: bound to it, or made of the environment's settings at the first submit."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, TypedDict, Unpack

from jobwire.durations import Duration

if TYPE_CHECKING:
    from jobwire.aio import AsyncClient
    from jobwire.client import Client
    from jobwire.settings import Settings


class ConnectOptions(TypedDict, total=False):
    """What `App.connect` may be told beside the address; see `Client`."""

    deadline: Duration | None
    patience: Duration | None
    tries: int | None
    tls: bool | None
    ca: str | None
    cert: str | None
    key: str | None
    server_name: str | None
    context: str | None


class Pair:
    """A sync and an async client of the same settings, each made when it is first asked for."""

    def __init__(self, settings: Settings, *made: Client | AsyncClient) -> None:
        self._settings = settings
        # No lock, which another thread might hold at a fork: a dict's setdefault is atomic, and a client that lost a
        # race has connected to nothing.
        self._made: dict[type, Client | AsyncClient] = {type(client): client for client in made}

    def sync(self) -> Client:
        """Return the sync one."""
        from jobwire.client import Client  # noqa: PLC0415 - whoever only registers handlers needs no gRPC

        found = self._made.get(Client) or self._made.setdefault(Client, Client.from_settings(self._settings))
        assert isinstance(found, Client)
        return found

    def aio(self) -> AsyncClient:
        """Return the async one."""
        from jobwire.aio import AsyncClient  # noqa: PLC0415

        found = self._made.get(AsyncClient)
        if found is None:
            found = self._made.setdefault(AsyncClient, AsyncClient.from_settings(self._settings))
        assert isinstance(found, AsyncClient)
        return found

    def close(self) -> None:
        """Close the sync one."""
        from jobwire.client import Client  # noqa: PLC0415

        found = self._made.get(Client)
        if isinstance(found, Client):
            found.close()

    async def aclose(self) -> None:
        """Close both."""
        from jobwire.aio import AsyncClient  # noqa: PLC0415

        self.close()
        found = self._made.get(AsyncClient)
        if isinstance(found, AsyncClient):
            await found.close()


def pair_of(address: str | None = None, **options: Unpack[ConnectOptions]) -> Pair:
    """Make a pair from arguments as `Client` takes them. Nothing is sent. Raises ArgumentInvalid."""
    from jobwire.client import Client  # noqa: PLC0415

    client = Client(address, **options)
    return Pair(client.settings, client)


class Clients:
    """What the typed jobs of one app submit through. Thread-safe."""

    def __init__(self) -> None:
        self._own: dict[str, Pair] = {}
        self._connected: tuple[Pair, ...] = ()

    def pair(self) -> Pair:
        """Return the innermost connected one, else the bound one, else one of the environment's settings."""
        connected = self._connected
        if connected:
            return connected[-1]
        return self._own.get("pair") or self._own.setdefault("pair", pair_of())

    def bind(self, pair: Pair) -> None:
        """Let this one count wherever none is connected."""
        self._own["pair"] = pair

    def push(self, pair: Pair) -> None:
        """Let this one count until it is removed."""
        self._connected = (*self._connected, pair)

    def remove(self, pair: Pair) -> None:
        """Let the one before count again."""
        self._connected = tuple(other for other in self._connected if other is not pair)


class Connection:
    """A block in which an app submits to one server: `with` or `async with`, each gives its kind of client."""

    def __init__(self, clients: Clients, pair: Pair) -> None:
        self._clients = clients
        self._pair = pair

    def __enter__(self) -> Client:
        self._clients.push(self._pair)
        return self._pair.sync()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clients.remove(self._pair)
        self._pair.close()

    async def __aenter__(self) -> AsyncClient:
        self._clients.push(self._pair)
        return self._pair.aio()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clients.remove(self._pair)
        await self._pair.aclose()
