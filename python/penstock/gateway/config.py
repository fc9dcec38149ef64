"""The gateway's one file: what it may hold, what each setting means, and what is wrong with a wrong one.

    config = load("gateway.yaml")        # raises ConfigError with every problem and the path of each

Values may name environment variables, as `${NAME}`, `${NAME:-default}` or `os.environ/NAME`; a setting can
also be given from outside as `PENSTOCK_LISTEN__PORT=4000`. Secrets are `SecretStr`: no `repr`, log or error
shows them.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, ValidationInfo

from penstock.errors import PenstockError
from penstock.headers import is_value

__all__ = [
    "Config",
    "ConfigError",
    "Cors",
    "HookEntry",
    "Ids",
    "Key",
    "LimitsConfig",
    "Listen",
    "PriceEntry",
    "Retry",
    "Store",
    "Telemetry",
    "UpstreamConfig",
    "load",
    "read",
]

WEAK: Final = frozenset({"sk-1234", "changeme", "change-me", "secret", "password", "test", "none", "example"})
MIN_KEY: Final = 20
"""Characters a client key has at least where the gateway can be reached from elsewhere."""

MIN_ID_KEY: Final = 32

Json = dict[str, Any]


class ConfigError(PenstockError, ValueError):
    """A configuration that cannot be used.

    Attributes:
        problems: every one found, as `path: what is wrong`; no value of a secret is among them.
    """

    def __init__(self, problems: list[str]) -> None:
        lines = "".join(f"\n  {problem}" for problem in problems)
        super().__init__(f"the configuration has {len(problems)} problem{'s' * (len(problems) > 1)}:{lines}")
        self.problems = problems


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def _url(text: str) -> str:
    if not re.fullmatch(r"https?://[^/\s@]+(/\S*)?", text):
        raise ValueError("expected http:// or https://, a host, and no user or password")
    return text.rstrip("/")


def _strong(key: SecretStr, info: ValidationInfo) -> SecretStr:
    text = key.get_secret_value()
    if not text or text.strip() != text:
        raise ValueError("is empty or has spaces around it")
    exposed = bool((info.context or {}).get("exposed"))
    if exposed and (text.lower() in WEAK or len(text) < MIN_KEY or len(set(text)) < 8):
        raise ValueError(
            f"is too weak for a gateway off loopback: at least {MIN_KEY} characters, not a known one"
        )
    return key


def _sendable(secret: SecretStr) -> SecretStr:
    if not is_value(secret.get_secret_value()):
        raise ValueError("is not printable ASCII on one line")
    return secret


def _long(key: SecretStr) -> SecretStr:
    if len(key.get_secret_value()) < MIN_ID_KEY:
        raise ValueError(f"is shorter than {MIN_ID_KEY} characters")
    return key


Url = Annotated[str, AfterValidator(_url)]
ClientKey = Annotated[SecretStr, AfterValidator(_strong)]
IdKey = Annotated[SecretStr, AfterValidator(_long)]
HeaderValue = Annotated[SecretStr, AfterValidator(_sendable)]
Seconds = Annotated[float, Field(gt=0, le=86_400)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
HeaderName = Annotated[str, Field(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,256}$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Listen(_Section):
    """Where the gateway listens."""

    host: str = "127.0.0.1"
    port: int = Field(default=4000, ge=0, le=65_535)
    workers: int = Field(default=1, ge=1, le=256)
    """Processes; more than one need a store that they share."""
    drain: float = Field(default=30.0, ge=0, le=3_600)
    """Seconds that running streams get to end when the gateway is told to stop."""


class UpstreamConfig(_Section):
    """One replica of one provider."""

    name: Name
    url: Url
    """The base URL, `/v1` included."""
    key: HeaderValue | None = None
    dialect: Literal["responses", "chat", "both"] = "responses"
    """What it speaks; requests of the other API are transcoded."""
    models: list[str] = Field(default_factory=lambda: ["*"], min_length=1)
    """Names it serves, `*` as wildcard; `alias=name` sends `name` for requests of `alias`, as does
    `my-*=*` for all that begin so."""
    history: Literal["upstream", "gateway"] | None = None
    """Who knows earlier responses: the upstream, to which ids are then passed on, or the gateway's store.
    By default the upstream if it speaks Responses, else the gateway."""
    headers: dict[HeaderName, HeaderValue] = Field(default_factory=dict)
    """Sent with every request."""
    forward_headers: list[str] = Field(default_factory=list)
    """Clients' headers that are passed on beside the usual ones."""
    timeout: Seconds = 600.0
    """Seconds for the head of an answer, which comes at its end where it is not streamed."""
    max_streams: int | None = Field(default=None, ge=1)
    websocket: bool = False
    """Whether it serves the WebSocket mode; where all do, connections are forwarded, else managed."""

    on_disconnect: Literal["cancel", "drain", "detach"] = "cancel"
    """What becomes of an answer whose client has left. It is let go at once; or it is read to its end all the
    same, so that it is stored and counted whole; or its stream runs on as that of a background response does
    and can be resumed. A stream of Chat Completions, and what is no stream, is drained in place of that. Of
    several upstreams of a model the first one's says whether streams are detached."""
    linger: Seconds = 300.0
    """For how many seconds at most it goes on without its client."""

    @property
    def keeps_history(self) -> bool:
        """Whether previous responses are known upstream."""
        return (self.history or ("gateway" if self.dialect == "chat" else "upstream")) == "upstream"


class Key(_Section):
    """A client's key, and what it may do."""

    name: Name
    """The tenant: what it stores is seen by nobody else."""
    key: ClientKey
    models: list[str] = Field(default_factory=lambda: ["*"], min_length=1)
    requests_per_minute: int | None = Field(default=None, ge=1)
    max_streams: int | None = Field(default=None, ge=1)


class Retry(_Section):
    """What is tried again, on another replica where there is one; never after a byte of the answer."""

    attempts: int = Field(default=2, ge=1, le=10)
    """Requests in all."""
    statuses: list[int] = Field(default_factory=lambda: [429, 500, 502, 503, 504])
    cooldown: Seconds = 5.0
    """Seconds for which a replica that failed is tried last."""


class Store(_Section):
    """Where responses and conversations are kept."""

    kind: Literal["memory", "sqlite", "redis"] = "memory"
    path: str = "penstock.sqlite"
    url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    ttl: Annotated[float, Field(gt=0, le=366 * 86_400)] | None = None
    """Seconds after which a response is forgotten."""
    wait: float = Field(default=5.0, ge=0, le=300)
    """Seconds for which a database that does not answer is asked again. A response that cannot be stored then
    is told as failed: one that is told as completed can be continued."""


class LimitsConfig(_Section):
    """Bounds in bytes, counts and seconds; null switches a time-out off."""

    body_bytes: int = Field(default=32 * 1024 * 1024, ge=1_024)
    answer_bytes: int = Field(default=64 * 1024 * 1024, ge=1_024)
    streams: int = Field(default=10_000, ge=1)
    first_event: Seconds | None = 300.0
    idle: Seconds | None = 120.0
    duration: Seconds | None = None
    write: Seconds = 30.0
    resume: Seconds = 300.0
    """For how long a background stream that has ended can still be read from its middle."""
    hook: Seconds = 5.0
    """One call of a hook."""
    keep_alive: Seconds | None = None
    """Seconds of silence after which a comment is sent; off by default, as some clients cannot read them."""


class Ids(_Section):
    """Sealed response ids: they name tenant and replica by MAC."""

    keys: dict[Name, IdKey] = Field(default_factory=dict)
    """By name; the first seals, all open, so that keys can be changed. Without any, ids stay as upstreams
    made them, and only the process that served a response knows whose it is."""


class HookEntry(_Section):
    """A hook by its place, `package.module:name`, called without arguments if it is a class."""

    use: Annotated[str, Field(pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*$")]


class PriceEntry(_Section):
    """What a million tokens of a model cost; see `penstock.hooks.Price`."""

    input: float = Field(ge=0)
    output: float = Field(ge=0)
    cached: float | None = Field(default=None, ge=0)
    cache_write: float | None = Field(default=None, ge=0)


class Cors(_Section):
    """Which web pages may call the gateway."""

    origins: list[str] = Field(default_factory=list)
    """Origins as browsers send them; `*` for all."""
    max_age: int = Field(default=600, ge=0, le=86_400)


class Telemetry(_Section):
    """What the gateway tells of itself."""

    metrics: bool = True
    ui: bool = True
    otel: bool = False
    """Spans with the GenAI attributes, through the SDK that the process has set up (`OTEL_*`)."""
    log: Literal["json", "text", "off"] = "json"


class Config(_Section):
    """The whole file."""

    listen: Listen = Listen()
    upstreams: list[UpstreamConfig] = Field(min_length=1)
    keys: list[Key] = Field(default_factory=list)
    retry: Retry = Retry()
    store: Store = Store()
    limits: LimitsConfig = LimitsConfig()
    ids: Ids = Ids()
    hooks: list[HookEntry] = Field(default_factory=list)
    prices: dict[str, PriceEntry] = Field(default_factory=dict)
    """By model, `*` at the end as wildcard; then the usage of each answer tells its `cost`."""
    cors: Cors = Cors()
    telemetry: Telemetry = Telemetry()


def load(path: str | Path, environment: Mapping[str, str] | None = None) -> Config:
    """Read a YAML file. Raises `ConfigError`; `OSError` where it cannot be read."""
    try:
        data = yaml.safe_load(Path(path).read_text("utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}: " if mark else ""
        raise ConfigError(
            [f"{place}it is not YAML: {getattr(error, 'problem', None) or 'not UTF-8'}"]
        ) from None
    if not isinstance(data, dict):
        raise ConfigError(["the file must hold a mapping, as in the example of `penstock serve --help`"])
    return read(data, environment)


def read(data: Json, environment: Mapping[str, str] | None = None) -> Config:
    """Check a configuration that is a dict already. Raises `ConfigError`."""
    environment = os.environ if environment is None else environment
    problems: list[str] = []
    data = _merge(data, _from_environment(environment))
    data = _filled(data, "", environment, problems)
    listen = data.get("listen")
    host = listen.get("host", "127.0.0.1") if isinstance(listen, dict) else "127.0.0.1"
    exposed = not (isinstance(host, str) and is_loopback(host))
    if exposed and not data.get("keys"):
        problems.append(f"keys: a gateway that listens on {host} needs client keys")
    try:
        config = Config.model_validate(data, context={"exposed": exposed})
    except ValidationError as error:
        problems += [f"{_path(row['loc'])}: {_words(row)}" for row in error.errors(include_input=False)]
        config = None
    if config is not None:
        problems += _contradictions(config)
    if config is None or problems:
        raise ConfigError(problems)
    return config


def _contradictions(config: Config) -> Iterator[str]:
    for section, names in (
        ("upstreams", [upstream.name for upstream in config.upstreams]),
        ("keys", [key.name for key in config.keys]),
    ):
        for place, name in enumerate(names):
            if name in names[:place]:
                yield f"{section}[{place}].name: another of the {section} is called so too"
    secrets = [key.key.get_secret_value() for key in config.keys]
    for place, secret in enumerate(secrets):
        if secret in secrets[:place]:
            yield f"keys[{place}].key: another key is the same"
    if config.listen.workers > 1 and config.store.kind == "memory":
        yield "store.kind: several workers need a store that they share, sqlite or redis"
    keepers = [upstream for upstream in config.upstreams if upstream.keeps_history]
    if config.listen.workers > 1 and not config.ids.keys and len(keepers) > 1:
        yield "ids.keys: several workers need them to know which upstream keeps a response"


def _from_environment(environment: Mapping[str, str]) -> Json:
    """The settings given as `PENSTOCK_SECTION__NAME`; values are YAML."""
    found: Json = {}
    for name, text in environment.items():
        section, separator, setting = name.removeprefix("PENSTOCK_").lower().partition("__")
        if name.startswith("PENSTOCK_") and separator and section in Config.model_fields:
            try:
                found.setdefault(section, {})[setting] = yaml.safe_load(text)
            except yaml.YAMLError:
                raise ConfigError([f"{name}: the value is not YAML"]) from None
    return found


def _merge(base: Json, over: Mapping[str, Any]) -> Json:
    merged = dict(base)
    for key, value in over.items():
        known = merged.get(key)
        merged[key] = _merge(known, value) if isinstance(known, dict) and isinstance(value, dict) else value
    return merged


_VARIABLE: Final = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")


def _filled(value: Any, path: str, environment: Mapping[str, str], problems: list[str]) -> Any:
    """Replace the names of variables by their values; what is not set is a problem."""
    if isinstance(value, dict):
        return {
            key: _filled(item, f"{path}.{key}".lstrip("."), environment, problems)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_filled(item, f"{path}[{place}]", environment, problems) for place, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def look_up(name: str, default: str | None) -> str:
        found = environment.get(name) or default
        if found is None:
            problems.append(f"{path}: the environment variable {name} is not set")
            return f"unset-{name}-but-reported-elsewhere"
        return found

    if value.startswith("os.environ/"):
        return look_up(value.removeprefix("os.environ/"), None)
    return _VARIABLE.sub(lambda match: look_up(match[1], match[2]), value)


def _path(location: tuple[int | str, ...]) -> str:
    return (
        "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location).lstrip(".")
        or "file"
    )


def _words(row: Mapping[str, Any]) -> str:
    message: str = row["msg"]
    if row["type"] == "extra_forbidden":
        return "no such setting"
    return message.removeprefix("Value error, ")
