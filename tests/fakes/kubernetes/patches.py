"""The three patches that don't track ownership: JSON merge (RFC 7396), JSON patch (RFC 6902), strategic merge."""

from __future__ import annotations

import copy
from typing import Any

from tests.fakes.kubernetes.errors import ApiError, bad_request
from tests.fakes.kubernetes.schema import KEY_DEFAULTS, Node


def merge_patch(target: Any, patch: Any) -> Any:
    """RFC 7396: null removes, maps merge, everything else replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge_patch(result.get(key), value)
    return result


def json_patch(target: dict[str, Any], operations: Any) -> Any:
    """RFC 6902. Raises 400 for a malformed patch, 422 where it does not fit the object."""
    if not isinstance(operations, list):
        raise bad_request("error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    result: Any = copy.deepcopy(target)
    for operation in operations:
        result = _operate(result, operation)
    return result


def _operate(target: Any, operation: dict[str, Any]) -> Any:
    op, path = operation.get("op"), _pointer(str(operation.get("path", "")))
    if op in ("add", "replace"):
        return _set(target, path, copy.deepcopy(operation.get("value")), replace=op == "replace")
    if op == "remove":
        return _remove(target, path)
    if op == "test":
        if _get(target, path) != operation.get("value"):
            raise _unfit("testing value failed: test failed", operation)
        return target
    if op in ("copy", "move"):
        source = _pointer(str(operation.get("from", "")))
        value = copy.deepcopy(_get(target, source))
        return _set(_remove(target, source) if op == "move" else target, path, value, replace=False)
    raise bad_request(f"Unexpected kind: {op}")


def _unfit(why: str, what: object) -> ApiError:
    return ApiError(422, f"the server rejected our request due to an error in our request: {why} ({what})")


def _pointer(text: str) -> list[str]:
    if text and not text.startswith("/"):
        raise bad_request(f"jsonpatch path must start with '/': {text}")
    return [part.replace("~1", "/").replace("~0", "~") for part in text.split("/")[1:]]


def _index(items: list[Any], part: str, *, end: bool = False) -> int:
    if end and part == "-":
        return len(items)
    if not part.isdecimal() or int(part) > len(items) - (0 if end else 1):
        raise _unfit("invalid array index", part)
    return int(part)


def _get(target: Any, path: list[str]) -> Any:
    for part in path:
        if isinstance(target, list):
            target = target[_index(target, part)]
        elif isinstance(target, dict) and part in target:
            target = target[part]
        else:
            raise _unfit("key does not exist", "/".join(path))
    return target


def _set(target: Any, path: list[str], value: Any, *, replace: bool) -> Any:
    if not path:
        return value
    parent, last = _get(target, path[:-1]), path[-1]
    if isinstance(parent, list) and replace:
        parent[_index(parent, last)] = value
    elif isinstance(parent, list):
        parent.insert(_index(parent, last, end=True), value)
    elif isinstance(parent, dict) and not (replace and last not in parent):
        parent[last] = value
    else:
        raise _unfit("replace operation does not apply: doc is missing key", "/".join(path))
    return target


def _remove(target: Any, path: list[str]) -> Any:
    _get(target, path)
    parent, last = _get(target, path[:-1]), path[-1]
    del parent[_index(parent, last) if isinstance(parent, list) else last]
    return target


def strategic_merge(target: Any, patch: Any, node: Node) -> Any:
    """Maps merge, lists with a merge key merge by it, with `$patch`, `$retainKeys` and `$deleteFromPrimitiveList`."""
    if isinstance(patch, dict):
        return _strategic_map(target if isinstance(target, dict) else {}, patch, node)
    return copy.deepcopy(patch)


def _strategic_map(target: dict[str, Any], patch: dict[str, Any], node: Node) -> dict[str, Any]:
    if patch.get("$patch") == "replace":
        return {key: copy.deepcopy(value) for key, value in patch.items() if key != "$patch"}
    if patch.get("$patch") == "delete":
        return {}
    result = dict(target)
    if "$retainKeys" in patch:
        result = {key: value for key, value in result.items() if key in patch["$retainKeys"]}
    for key, value in patch.items():
        name = key.partition("/")[2]
        if key.startswith("$deleteFromPrimitiveList/"):
            result[name] = [item for item in result.get(name) or [] if item not in value]
        elif key.startswith("$"):
            continue
        elif value is None:
            result.pop(key, None)
        else:
            result[key] = _strategic_value(result.get(key), value, node.field(key))
    return result


def _strategic_value(target: Any, patch: Any, node: Node) -> Any:
    if not isinstance(patch, list) or not node.merges:
        return strategic_merge(target, patch, node)
    if node.merge_key is None:
        return [*(target or []), *(item for item in patch if item not in (target or []))]
    return _strategic_list(target or [], patch, node, node.merge_key)


def _strategic_list(target: list[Any], patch: list[Any], node: Node, key: str) -> list[Any]:
    result = list(target)
    if any(item.get("$patch") == "replace" for item in patch):
        return [copy.deepcopy(item) for item in patch if "$patch" not in item]
    for item in patch:
        if key not in item:
            raise bad_request(f"map: {item} does not contain declared merge key: {key}")
        same = [i for i, old in enumerate(result) if old.get(key, KEY_DEFAULTS.get(key)) == item[key]]
        if item.get("$patch") == "delete":
            result = [old for i, old in enumerate(result) if i not in same]
        elif same:
            result[same[0]] = _strategic_map(result[same[0]], item, node.item())
        else:
            result.append(_strategic_map({}, item, node.item()))
    return result
