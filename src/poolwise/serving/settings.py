"""The limits and the access rules of a server."""

from __future__ import annotations

from dataclasses import dataclass, field

from poolwise.errors import ConfigError

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class ServeSettings:
    """The limits of a server, and who may use it.

    Args:
        max_body_bytes: largest body of a request.
        max_held_bytes: largest sum of the bodies of all requests in progress.
        max_texts: most texts of a request.
        max_queue_tokens: most tokens that wait for a model; a request alone in the queue may have more.
        request_seconds: a request that has waited this long for its embeddings is given up.
        body_seconds: a client that takes longer to send its body is cut off.
        keys: API keys; a request needs one of them if there are any.
        is_loopback: the server listens on this machine's own address only, so requests for other hosts are refused.
    Raises: ConfigError for a limit that is not positive, or an empty key.
    """

    max_body_bytes: int = 8 * MEBIBYTE
    max_held_bytes: int = 256 * MEBIBYTE
    max_texts: int = 2048
    max_queue_tokens: int = 262_144
    request_seconds: float = 60.0
    body_seconds: float = 10.0
    keys: tuple[str, ...] = field(default=(), repr=False)
    is_loopback: bool = True

    def __post_init__(self) -> None:
        for name in (
            *("max_body_bytes", "max_held_bytes", "max_texts", "max_queue_tokens"),
            *("request_seconds", "body_seconds"),
        ):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}", "wanted a number above 0")
        if not all(self.keys):
            raise ConfigError("an API key is empty", "wanted keys of at least one character")
