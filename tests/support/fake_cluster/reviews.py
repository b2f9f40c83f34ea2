"""TokenReview and SubjectAccessReview: who a token belongs to and what they may do, as a test has said."""

from typing import Any

from fake_cluster.kinds import Kind

Object = dict[str, Any]
SCOPES = "scopes.authorization.example"
"""What narrows a token to some verbs, as authorizers other than RBAC may."""
Right = tuple[str, str, str, str, str]
"""User or group, verb, API group, resource and namespace."""


class Reviews:
    """The tables behind both. Nothing of a review is kept."""

    def __init__(self) -> None:
        self.users: dict[str, Object] = {}
        """By token, as `status.user` shows them."""
        self.rights: set[Right] = set()

    def answer(self, kind: Kind, review: Object) -> Object:
        """The review with its status."""
        status = self._token if kind.name == "TokenReview" else self._access
        return {**review, "apiVersion": kind.api_version, "kind": kind.name, "status": status(review["spec"])}

    def _token(self, spec: Object) -> Object:
        user = self.users.get(spec["token"])
        if user is None:
            return {"user": {}, "error": "[invalid bearer token, token lookup failed]"}
        return {"authenticated": True, "user": user, "audiences": ["https://kubernetes.default.svc"]}

    def _access(self, spec: Object) -> Object:
        asked = spec["resourceAttributes"]
        right = (asked["verb"], asked["group"], asked["resource"], asked["namespace"])
        scopes = spec.get("extra", {}).get(SCOPES)
        if scopes is not None and asked["verb"] not in scopes:
            return {"allowed": False}
        return {"allowed": any((who, *right) in self.rights for who in (spec["user"], *spec.get("groups", ())))}
