"""Getting an access token at a vendor's token endpoint (RFC 6749, sections 4.4, 5 and 6).

The one rule: a grant that the endpoint turns away is a refused login, and nothing of what was sent or answered is told.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import httpx
from pydantic import TypeAdapter, ValidationError

from services.crm_sync.connectors.interface import LOGIN_REFUSED
from services.crm_sync.connectors.requests import SendingTransport
from services.crm_sync.connectors.vendor.logins import Token
from services.crm_sync.connectors.vendor.reach import Reach, Resolve
from services.crm_sync.connectors.vendor.site import TIME_LIMITS, USER_AGENT, Failed, exchanged, judged
from services.crm_sync.connectors.vendor.tape import Taped
from services.runtime.effects import Unavailable
from services.runtime.wall_clock import now_ms


@dataclass(frozen=True, slots=True)
class _Granted:
    """What an endpoint answers; two vendors name the address of their API, each in its own way."""

    access_token: str
    expires_in: float | None = None
    refresh_token: str | None = None
    instance_url: str | None = None
    api_domain: str | None = None


_GRANTED = TypeAdapter(_Granted)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What is sent to the endpoint at `url`, such as `grant_type`, `client_id` and `refresh_token`; `basic`: also as HTTP login."""

    url: str
    form: Mapping[str, str]
    basic: tuple[str, str] | None = None
    private_addresses: bool = False
    lasts_s: float | None = None
    """How long a token is good where the answer does not say."""
    names_api: Literal["instance_url", "api_domain"] | None = None
    """The answer's field with the address of the API, where requests are to follow it."""
    resolve: Resolve | None = None
    now_ms: Callable[[], int] = now_ms

    @property
    def credentials(self) -> str:
        """All that the token is got with, as one text."""
        return "\n".join(
            (self.url, *(self.basic or ()), *(f"{one}={self.form[one]}" for one in sorted(self.form)))
        )

    async def token(self, last: Token | None) -> Token:
        """Return a new token. Raises Unavailable."""
        form = dict(self.form)
        if last is not None and last.refresh is not None:
            form["refresh_token"] = last.refresh
        reach = Reach(private_addresses=self.private_addresses, resolve=self.resolve)
        async with httpx.AsyncClient(
            transport=SendingTransport(Taped(reach)), timeout=TIME_LIMITS, follow_redirects=False
        ) as client:
            request = client.build_request(
                "POST",
                self.url,
                data=form,
                headers={
                    "User-Agent": USER_AGENT,
                    "Accept": "application/json",
                    "Accept-Encoding": "identity",
                },
            )
            if self.basic is not None:
                request = next(httpx.BasicAuth(*self.basic).sync_auth_flow(request))
            got = await exchanged(client, request, writes=False)
        if isinstance(got, Failed):
            raise judged(got) if got.status == 429 or got.status >= 500 else Unavailable(LOGIN_REFUSED)
        try:
            granted = _GRANTED.validate_json(got)
        except ValidationError:
            # Zoho answers 200 to a refresh token that is revoked, with the error in the body.
            raise Unavailable(LOGIN_REFUSED) from None
        lasts_s = granted.expires_in if granted.expires_in is not None else self.lasts_s
        return Token(
            granted.access_token,
            until_ms=None if lasts_s is None else self.now_ms() + int(lasts_s * 1_000),
            refresh=granted.refresh_token or form.get("refresh_token"),
            url=None if self.names_api is None else getattr(granted, self.names_api),
        )
