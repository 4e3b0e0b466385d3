"""Drives an agent through reflection alone: no generated code, no layout knowledge.

    reflection.py unix:/run/bpfgate/bpfgate.sock

Makes a typed map, writes, looks up, iterates and watches it, makes two mistakes, and deletes it.
Exits with 0 if every answer was as it should be.
"""

import pathlib
import sys

import grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "client" / "python"))

from bpfgate_counters import Counters  # noqa: E402


class Service:
    """A service's methods, found by reflection; messages are dicts as in proto3 JSON."""

    def __init__(self, channel, pool, name):
        self.channel = channel
        self.descriptor = pool.FindServiceByName(name)

    def __getattr__(self, method):
        found = self.descriptor.methods_by_name[method]
        request = message_factory.GetMessageClass(found.input_type)
        response = message_factory.GetMessageClass(found.output_type)
        path = f"/{self.descriptor.full_name}/{method}"
        codec = (request.SerializeToString, response.FromString)

        def unary(**fields):
            call = self.channel.unary_unary(path, *codec)
            answer = call(json_format.ParseDict(fields, request()), timeout=10)
            return json_format.MessageToDict(answer)

        def stream(as_messages=False, **fields):
            call = self.channel.unary_stream(path, *codec)
            answers = call(json_format.ParseDict(fields, request()), timeout=10)
            if as_messages:
                return list(answers)
            return [json_format.MessageToDict(answer) for answer in answers]

        return stream if found.server_streaming else unary


def code_of(call):
    """The status code's name and message of a call that must fail."""
    try:
        call()
    except grpc.RpcError as error:
        return error.code().name, error.details()
    raise AssertionError("the agent took what it must refuse")


def integer(name, size):
    return {"name": name, "size": size, "integer": {"encoding": "ENCODING_UNSIGNED"}}


def main(target):
    # grpcio names the socket's path as the authority, which HTTP/2 does not allow.
    options = [("grpc.default_authority", "localhost")]
    with grpc.insecure_channel(target, options=options) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        assert "bpfgate.v1.MapService" in database.get_services()
        pool = descriptor_pool.DescriptorPool(database)
        maps = Service(channel, pool, "bpfgate.v1.MapService")
        agent = Service(channel, pool, "bpfgate.v1.AgentService")

        assert agent.WhoAmI()["principal"].startswith("uid:")
        made = maps.CreateMap(
            name="python",
            spec={"type": "MAP_TYPE_HASH", "keySize": 4, "valueSize": 8, "maxEntries": 10},
            layout={"key": integer("__u32", 4), "value": integer("__u64", 8)},
        )
        assert made["map"]["name"] == "python", made
        assert [m["name"] for m in maps.ListMaps()["maps"]] == ["python"]

        largest = str(2**64 - 1)
        maps.Update(map="python", typedKey=7, typedValue=largest)
        maps.Update(map="python", typedKey=8, typedValue=5, mode="UPDATE_MODE_NOEXIST")
        found = maps.Lookup(map="python", typedKey=7, typed=True)
        assert found["typedValue"] == largest, found

        header, *entries, end = maps.Iterate(map="python")
        assert header["header"]["keyStride"] == 4, header
        assert sum(e["entries"]["count"] for e in entries) == 2, entries
        assert end["end"]["reason"] == "REASON_COMPLETE", end

        watched = maps.WatchCounters(selectors=[{"map": "python"}], mode="WATCH_MODE_ONCE")
        kinds = [next(iter(message)) for message in watched]
        assert kinds == ["header", "series", "series", "batch", "sync"], kinds
        values = dict(zip(watched[3]["batch"]["refs"], watched[3]["batch"]["values"]))
        assert sorted(values.values()) == ["18446744073709551615", "5"], values

        # The same with the names of the series.
        counters, samples = Counters(), []
        for message in maps.WatchCounters(
            as_messages=True, selectors=[{"map": "python"}], mode="WATCH_MODE_ONCE"
        ):
            samples += counters.take(message)
        assert counters.whole
        values = {sample.labels["key"]: sample.value for sample in samples}
        assert values == {"7": 2**64 - 1, "8": 5}, values
        assert {sample.map for sample in samples} == {"python"}

        code, text = code_of(lambda: maps.Lookup(map="python", typedKey=-1))
        assert code == "INVALID_ARGUMENT" and "-1" in text, (code, text)
        code, text = code_of(lambda: maps.Lookup(map="pythn", typedKey=1))
        assert code == "NOT_FOUND" and "pythn" in text, (code, text)

        maps.Delete(map="python", typedKey=7)
        maps.DeleteMap(map="python")
        assert "maps" not in maps.ListMaps()


if __name__ == "__main__":
    main(sys.argv[1])
