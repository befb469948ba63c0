"""The part of the hub's protocol that writes: repositories are made, files uploaded, and commits put together."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hub_protocol import Request
    from hub_server import HubServer


def answer_write(hub: HubServer, handler: Any, request: Request, body: bytes) -> None:
    """Answer a POST or PUT. Only tokens in `hub.writers` may write, each to what its owner has."""
    parts = request.path.strip("/").split("/")
    if parts[0] == "lfs":  # a signed address: the bytes come without a token
        if parts[1] != "verify":
            assert hashlib.sha256(body).hexdigest() == parts[1]
            hub.uploads[parts[1]] = body
        return handler.send_json(request, {})
    if request.path == "/api/validate-yaml":
        return handler.send_json(request, {"errors": [], "warnings": []})
    asked = [json.loads(line) for line in body.splitlines() if line]
    if request.path == "/api/repos/create":
        owner, name = asked[0].get("organization"), asked[0]["name"]
    else:
        start = 2 if parts[0] == "api" else 0
        owner, name = parts[start], parts[start + 1].removesuffix(".git")
    if request.token not in hub.writers:
        return handler.refuse(request, 401, "", "Invalid username or password.")
    if hub.writers[request.token] != owner:
        return handler.refuse(request, 403, "", "You don't have the rights to create a model under this namespace")
    repository = f"{owner}/{name}"
    if request.path == "/api/repos/create":
        if ("models", repository) in hub.repositories:
            about = {"error": "You already created this model repo", "url": f"{hub.endpoint}/{repository}"}
            return handler.send(request, 409, json.dumps(about).encode(), {})
        is_private = asked[0].get("private") or asked[0].get("visibility") == "private"
        hub.add_model(repository, {".gitattributes": b""}, private_token=request.token if is_private else None)
        return handler.send_json(request, {"url": f"{hub.endpoint}/{repository}"})
    if parts[-2:] == ["objects", "batch"]:
        objects = [_upload_action(hub, o["oid"], o["size"]) for o in asked[0]["objects"]]
        return handler.send_json(request, {"transfer": "basic", "objects": objects})
    if "preupload" in parts:
        modes = [(file["path"], file["path"].endswith(".safetensors")) for file in asked[0]["files"]]
        found = [{"path": p, "uploadMode": "lfs" if lfs else "regular", "shouldIgnore": False} for p, lfs in modes]
        return handler.send_json(request, {"files": found})
    assert "commit" in parts, request.path
    commit = _commit(hub, repository, asked[1:])
    handler.send_json(request, {"commitOid": commit, "commitUrl": f"{hub.endpoint}/{repository}/commit/{commit}"})


def _upload_action(hub: HubServer, oid: str, size: int) -> dict[str, Any]:
    places = {"upload": {"href": f"{hub.endpoint}/lfs/{oid}"}, "verify": {"href": f"{hub.endpoint}/lfs/verify"}}
    return {"oid": oid, "size": size} | ({} if oid in hub.uploads else {"actions": places})


def _commit(hub: HubServer, repository: str, operations: list[dict[str, Any]]) -> str:
    known = hub.repositories["models", repository]
    files = dict(known.commits[known.refs["main"]])
    for operation in operations:
        value = operation["value"]
        content = hub.uploads[value["oid"]] if operation["key"] == "lfsFile" else base64.b64decode(value["content"])
        files[value["path"]] = content
    return hub.add_model(repository, files, private_token=known.private_token)
