"""People who read rooms, for Locust: the client link in Protobuf, spoken by code that shares nothing with ours.

Each user is in 1 to 3 rooms with 1 to 3 connections, loses one of them now and then, and resumes by position. Two
accounts are kept for each connection and room: entries must follow one another by offset and stamp, and the numbers that
`lockgate-sim fleet` gave its records must come once and in order. The report says what was lost and doubled.
"""

import itertools
import json
import os
import random
import socket
import struct
import time

import gevent
import websocket
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from locust import User, between, events, task

SUBPROTOCOL = "lockgate.client.v1"
REPORT_EVERY = 0.5
BACKOFF = (0.1, 2.0)


@events.init_command_line_parser.add_listener
def arguments(parser):
    parser.add_argument("--descriptors", help="client.proto and what it imports, as a FileDescriptorSet")
    parser.add_argument("--gateway", action="append", help="ws://HOST:PORT; may be given several times")
    parser.add_argument("--tokens", help="a file with one token a line; users take them in turn")
    parser.add_argument("--rooms", type=int, default=10, help="rooms are the sites fleet-1 to fleet-N")
    parser.add_argument("--lose-every", type=float, default=10.0, help="seconds between two losses of a user, at the mean")
    parser.add_argument("--report", help="where all counts go, twice a second and at the end")


class World:
    """What all users share."""

    def __init__(self, options):
        with open(options.descriptors, "rb") as file:
            files = descriptor_pb2.FileDescriptorSet.FromString(file.read()).file
        pool = descriptor_pool.DescriptorPool()
        for file in files:
            pool.AddSerializedFile(file.SerializeToString())
        kind = lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"lockgate.v1.{name}"))
        self.ClientFrame, self.ServerFrame = kind("ClientFrame"), kind("ServerFrame")
        with open(options.tokens, encoding="utf-8") as file:
            self.tokens = file.read().split()
        self.gateways, self.rooms, self.lose_every = options.gateway, options.rooms, options.lose_every
        self.report_path = options.report
        self.numbers = itertools.count()
        self.clients = []
        self.counts = dict.fromkeys(
            ["connects", "resumes", "refused", "frames", "lost", "doubled", "not_recovered", "lagged", "errors"], 0
        )

    def report(self):
        rooms = {}
        for room in itertools.chain.from_iterable(client.rooms for client in self.clients):
            clients, telemetry, entries = rooms.get(room.site, (0, 0, 0))
            rooms[room.site] = (clients + 1, telemetry + room.telemetry, entries + room.entries)
        report = {
            "clients": len(self.clients),
            "up": sum(client.is_up for client in self.clients),
            **self.counts,
            "rooms": {
                site: {"clients": clients, "telemetry": telemetry, "entries": entries}
                for site, (clients, telemetry, entries) in sorted(rooms.items())
            },
        }
        # A reader never sees half of it.
        with open(self.report_path + ".new", "w", encoding="utf-8") as file:
            json.dump(report, file, indent=2)
        os.replace(self.report_path + ".new", self.report_path)

    def keep_reporting(self):
        while True:
            self.report()
            gevent.sleep(REPORT_EVERY)


class Room:
    """One connection's account of a room."""

    def __init__(self, site):
        self.site = site
        self.position = None
        self.entries = self.telemetry = 0
        self.numbers = {}

    def begin(self, world, subscribed):
        if self.position is not None and not subscribed.recovered:
            world.counts["not_recovered"] += 1
        self.position = (subscribed.position.offset, subscribed.position.stamp)

    def take(self, world, entry):
        offset, stamp = self.position
        if entry.offset <= offset:
            world.counts["doubled"] += 1
            return
        if entry.offset != offset + 1 or entry.previous_stamp != stamp:
            world.counts["lost"] += max(entry.offset - offset - 1, 1)
        self.position = (entry.offset, entry.stamp)
        self.entries += 1
        if entry.HasField("telemetry"):
            self.telemetry += 1
            self.mark(world, entry.telemetry.values[0].raw)

    def mark(self, world, raw):
        """Run, agent, number and time of a record of the fleet; numbers begin at 1."""
        run, agent, number, _ = struct.unpack("<4Q", raw)
        due = self.numbers.get((run, agent), 0) + 1
        if number < due:
            world.counts["doubled"] += 1
        else:
            world.counts["lost"] += number - due
            self.numbers[run, agent] = number

    def stated(self, world, position):
        """Nothing is filtered, so nothing may be settled that has not come."""
        if self.position is None or self.position[0] < position.offset:
            world.counts["lost"] += 1


class Client:
    """One connection, through all its reconnects."""

    def __init__(self, world, events_fired, user, index, sites):
        self.world, self.fired = world, events_fired
        self.token = world.tokens[user % len(world.tokens)]
        self.gateways = itertools.cycle(world.gateways)
        for _ in range(index % len(world.gateways)):
            next(self.gateways)
        self.rooms = [Room(site) for site in sites]
        self.by_site = {room.site: room for room in self.rooms}
        self.socket = None
        self.is_up = self.was_up = False
        self.lost_at = None

    def run(self):
        attempts = 0
        while True:
            began = time.monotonic()
            try:
                self.connect(began)
                attempts = 0
                while True:
                    self.hear(self.socket.recv())
            except (OSError, websocket.WebSocketException):
                if self.is_up:
                    self.lost_at = time.monotonic()
                else:
                    self.world.counts["refused"] += 1
                    self.fire("refused", began)
                self.is_up = False
                if self.socket is not None:
                    self.socket.shutdown()
            attempts += 1
            gevent.sleep(random.uniform(0, min(BACKOFF[1], BACKOFF[0] * 2**attempts)))

    def connect(self, began):
        url = next(self.gateways) + "/v1/client"
        self.socket = websocket.create_connection(url, timeout=60, subprotocols=[SUBPROTOCOL])
        self.ask(1, "connect", token=self.token, client="locust")
        waiting = 1
        while waiting:
            frame = self.world.ServerFrame.FromString(self.socket.recv())
            kind = frame.WhichOneof("body")
            if kind == "connected":
                waiting = self.subscribe()
            elif kind == "subscribed":
                self.by_site[frame.subscribed.site].begin(self.world, frame.subscribed)
                waiting -= 1
            elif kind == "error":
                raise websocket.WebSocketException(frame.error.message)
            else:
                self.take(frame)
        self.world.counts["resumes" if self.was_up else "connects"] += 1
        self.fire("resume" if self.was_up else "connect", self.lost_at if self.was_up else began)
        self.is_up = self.was_up = True

    def ask(self, number, kind, **fields):
        frame = self.world.ClientFrame(id=number)
        request = getattr(frame, kind)
        request.SetInParent()
        for name, value in fields.items():
            setattr(request, name, value)
        self.socket.send_binary(frame.SerializeToString())

    def subscribe(self):
        for number, room in enumerate(self.rooms, 2):
            frame = self.world.ClientFrame(id=number)
            frame.subscribe.site = room.site
            if room.position is None:
                frame.subscribe.live.SetInParent()
            else:
                frame.subscribe.since.offset, frame.subscribe.since.stamp = room.position
            self.socket.send_binary(frame.SerializeToString())
        return len(self.rooms)

    def hear(self, message):
        if not message:
            raise websocket.WebSocketConnectionClosedException("closed by the gateway")
        self.take(self.world.ServerFrame.FromString(message))

    def take(self, frame):
        counts, kind = self.world.counts, frame.WhichOneof("body")
        counts["frames"] += 1
        if kind == "delivery":
            room = self.by_site[frame.delivery.site]
            for entry in frame.delivery.entries:
                room.take(self.world, entry)
        elif kind == "positions":
            for stated in frame.positions.positions:
                self.by_site[stated.site].stated(self.world, stated.position)
        elif kind == "lagged":
            counts["lagged"] += 1
            through = frame.lagged.through
            self.by_site[frame.lagged.site].position = (through.offset, through.stamp)
        elif kind in ("error", "resynced"):
            counts["errors"] += 1

    def lose(self):
        """The network takes the connection away, without a word."""
        if self.is_up:
            self.socket.sock.shutdown(socket.SHUT_RDWR)

    def fire(self, name, since):
        """For Locust's own table. What a gateway refuses is tried again: it is no failure of the run."""
        took = (time.monotonic() - since) * 1000
        self.fired.request.fire(request_type="ws", name=name, response_time=took, response_length=0, exception=None)


WORLD = None


@events.test_start.add_listener
def begin(environment, **_):
    global WORLD
    WORLD = World(environment.parsed_options)
    gevent.spawn(WORLD.keep_reporting)


@events.quitting.add_listener
def end(environment, **_):
    if WORLD is not None:
        WORLD.report()


class Person(User):
    """1 to 3 rooms, 1 to 3 connections: for every nine users each pair of numbers once."""

    def wait_time(self):
        return between(0.5 * WORLD.lose_every, 1.5 * WORLD.lose_every)(self)

    def on_start(self):
        number = next(WORLD.numbers)
        rooms = [(number + step * 3) % WORLD.rooms for step in range(1 + number % 3)]
        sites = [f"fleet-{room + 1}" for room in dict.fromkeys(rooms)]
        self.clients = []
        for _ in range(1 + number // 3 % 3):
            client = Client(WORLD, self.environment.events, number, len(WORLD.clients), sites)
            WORLD.clients.append(client)
            self.clients.append(client)
        self.running = [gevent.spawn(client.run) for client in self.clients]

    @task
    def lose_one(self):
        random.choice(self.clients).lose()
