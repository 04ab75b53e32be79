# Programs whose functions are called by tests. The tests run in a process of their own; the program never sees them,
# and the only thing it can give back is plain values. So it can neither answer with an object that equals everything,
# nor change what `assert` or a builtin mean, nor end the tests early: no verdict arrives then.


class Gone(BaseException):
    """The program's process ended, or does not keep to the protocol."""


class Unsupported(BaseException):
    """The tests hand over something that cannot be sent."""


class Handle:
    """Stands in the tests for an object of the program's own. It equals itself alone and takes part in no arithmetic or
    comparison: those would be the program's to define."""

    __slots__ = ("_peer", "_id")

    def __init__(self, peer, number):
        object.__setattr__(self, "_peer", peer)
        object.__setattr__(self, "_id", number)

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return self._peer.ask("attribute", self, name)

    def __setattr__(self, name, value):
        self._peer.ask("set", self, name, value)

    def __call__(self, *args, **kwargs):
        return self._peer.call(self, args, kwargs)

    def __iter__(self):
        return self._peer.ask("iter", self)

    def __next__(self):
        return self._peer.ask("next", self)

    def __len__(self):
        return self._peer.ask("len", self)

    def __getitem__(self, key):
        return self._peer.ask("item", self, key)

    def __setitem__(self, key, value):
        self._peer.ask("set_item", self, key, value)

    def __bool__(self):
        return self._peer.ask("bool", self) is True

    def __str__(self):
        return self._peer.ask("str", self)

    def __repr__(self):
        return self._peer.ask("repr", self)


class Callback:
    """Stands in the program for a function of the tests."""

    def __init__(self, peer, number):
        self.peer, self.number = peer, number

    def __call__(self, *args, **kwargs):
        return self.peer.call(self, args, kwargs)


class Peer:
    """One end of the pipes between tests and program. Both ends may call the other while they wait for it."""

    def __init__(self, incoming, outgoing, is_tests):
        self.incoming, self.outgoing, self.is_tests = incoming, outgoing, is_tests
        self.objects, self.numbers, self.handles = {}, {}, {}
        self.module = None

    # Values.

    def plain(self, value):
        """A value as JSON."""
        kind = type(value)
        if value is None or kind in (bool, str, float):
            return value
        if kind is int:
            return value if -(1 << 53) < value < (1 << 53) else {"i": hex(value)}
        if kind is list:
            return [self.plain(item) for item in value]
        if kind is tuple:
            return {"t": [self.plain(item) for item in value]}
        if kind is dict:
            return {"d": [[self.plain(key), self.plain(item)] for key, item in value.items()]}
        if kind in (set, frozenset):
            return {"s" if kind is set else "f": [self.plain(item) for item in value]}
        if kind in (bytes, bytearray):
            return {"b" if kind is bytes else "B": value.hex()}
        if kind is complex:
            return {"c": [value.real, value.imag]}
        if kind is range:
            return {"r": [value.start, value.stop, value.step]}
        if kind is collections.deque:
            return {"q": [self.plain(item) for item in value]}
        if kind is Handle:
            return {"h": value._id}
        if kind is Callback:
            return {"k": value.number}
        return self.rare(value, kind)

    def rare(self, value, kind):
        if self.is_tests:
            name = getattr(value, "__name__", None)
            if isinstance(name, str) and getattr(builtins, name, None) is value:
                return {"u": name}
        name = (kind.__module__, kind.__name__)
        if name == ("decimal", "Decimal"):
            return {"D": str(value)}
        if name == ("fractions", "Fraction"):
            return {"F": [self.plain(value.numerator), self.plain(value.denominator)]}
        if name[0] == "datetime" and name[1] in ("datetime", "date", "time", "timedelta"):
            return {"T": [name[1], [self.plain(part) for part in kind.__reduce__(value)[1]]]}
        # Values of a subclass are sent as what they extend.
        for base, convert in (
            (int, int.__int__), (float, float.__float__), (str, str.__str__), (tuple, tuple), (list, list),
            (dict, lambda v: dict(dict.items(v))), (set, set), (frozenset, frozenset), (bytes, bytes),
        ):
            if isinstance(value, base):
                return self.plain(convert(value))
        if not self.is_tests and kind.__module__ == "numpy" and not hasattr(value, "__len__"):
            item = value.item() if hasattr(value, "item") else None
            if type(item) in (bool, int, float, complex, str):
                return self.plain(item)
        if self.is_tests and not callable(value):
            raise Unsupported(f"a value of type {kind.__name__} cannot be handed to the program")
        return {"k" if self.is_tests else "h": self.export(value)}

    def export(self, value):
        number = self.numbers.get(id(value))
        if number is None:
            number = len(self.objects)
            self.numbers[id(value)] = number
            self.objects[number] = value
        return number

    def value(self, plain):
        """A value from JSON. What the other end sends is data: nothing in it runs here."""
        kind = type(plain)
        if kind is list:
            return [self.value(item) for item in plain]
        if kind is not dict:
            return plain
        ((tag, body),) = plain.items()
        if tag == "i":
            return int(body, 16)
        if tag in "tsfq":
            makers = {"t": tuple, "s": set, "f": frozenset, "q": collections.deque}
            return makers[tag]([self.value(item) for item in body])
        if tag == "d":
            return {self.value(key): self.value(item) for key, item in body}
        if tag in "bB":
            return (bytes if tag == "b" else bytearray).fromhex(body)
        if tag == "c":
            return complex(*body)
        if tag == "r":
            return range(*body)
        if tag == "u" and not self.is_tests:
            return getattr(builtins, body)
        if tag == "h" and self.is_tests:
            if body not in self.handles:
                self.handles[body] = Handle(self, body)
            return self.handles[body]
        if tag == "k" and not self.is_tests:
            return Callback(self, body)
        if tag in "hk":
            return self.objects[body]
        if tag == "D":
            import decimal

            return decimal.Decimal(body)
        if tag == "F":
            import fractions

            return fractions.Fraction(self.value(body[0]), self.value(body[1]))
        if tag == "T":
            import datetime

            makers = {name: getattr(datetime, name) for name in ("datetime", "date", "time", "timedelta")}
            return makers[body[0]](*[self.value(part) for part in body[1]])
        raise ValueError(tag)

    # Calls.

    def exchange(self, request):
        """Sends a request and serves the other end until the answer comes."""
        try:
            send(self.outgoing, request)
            while True:
                message = receive(self.incoming)
                if "op" in message:
                    send(self.outgoing, self.serve(message))
                    continue
                return message
        except (EOFError, OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as problem:
            raise Gone(str(problem)) from None

    def ask(self, op, *args):
        message = self.exchange({"op": op, "args": [self.plain(arg) for arg in args]})
        return self.result(message)

    def call(self, target, args, kwargs):
        message = self.exchange({
            "op": "call", "args": [self.plain(target), self.plain(list(args)), self.plain(kwargs)],
        })
        if self.is_tests and isinstance(message.get("changed"), dict):
            self.write_back(list(args) + list(kwargs.values()), message["changed"])
        return self.result(message)

    def write_back(self, originals, changed):
        """Arguments that the program changed in place are changed here too."""
        for place, plain in changed.items():
            try:
                original, now = originals[int(place)], self.value(plain)
            except Exception as problem:
                raise Gone(str(problem)) from None
            if type(original) is not type(now):
                continue
            if type(now) in (list, bytearray):
                original[:] = now
            elif type(now) in (dict, set):
                original.clear()
                original.update(now)
            elif type(now) is collections.deque:
                original.clear()
                original.extend(now)

    def result(self, message):
        try:
            if "raise" not in message:
                return self.value(message["is"])
            name, text = message["raise"]
            kind = getattr(builtins, name, Exception)
            if not (isinstance(kind, type) and issubclass(kind, Exception)):
                kind = Exception
            try:
                error = kind(str(text))
            except TypeError:
                error = Exception(f"{name}: {text}")
        except Exception as problem:
            raise Gone(str(problem)) from None
        error.from_program = True
        raise error

    def serve(self, message):
        op, args = message["op"], message["args"]
        if self.is_tests:
            # Of the tests, a program may call the functions that it was given, and nothing else.
            if op != "call":
                raise ValueError(op)
            target = self.objects[args[0]["k"]]
            try:
                return {"is": self.plain(target(*self.value(args[1]), **self.value(args[2])))}
            except Exception as error:
                return {"raise": [type(error).__name__, str(error)]}
        try:
            if op == "call":
                return self.serve_call(args)
            args = [self.value(arg) for arg in args]
            return {"is": self.plain(OPERATIONS[op](self, *args))}
        except MemoryError:
            os._exit(OUT_OF_MEMORY)
        except Exception as error:
            return self.raised(error)

    def serve_call(self, args):
        target, positional, named = (self.value(arg) for arg in args)
        originals = list(positional) + list(named.values())
        before = [self.plain(value) if type(value) in MUTABLE else None for value in originals]
        try:
            answer = {"is": self.plain(target(*positional, **named))}
        except MemoryError:
            raise
        except Exception as error:
            answer = self.raised(error)
        changed = {}
        for place, (value, old) in enumerate(zip(originals, before)):
            if type(value) in MUTABLE:
                now = self.plain(value)
                if now != old:
                    changed[place] = now
        if changed:
            answer["changed"] = changed
        return answer

    @staticmethod
    def raised(error):
        if type(error) is not StopIteration:
            report()
        for kind in type(error).__mro__:
            if kind.__module__ == "builtins":
                return {"raise": [kind.__name__, str(error)]}
        return {"raise": ["Exception", str(error)]}


MUTABLE = (list, dict, set, bytearray, collections.deque)


def global_of(peer, name):
    try:
        return getattr(peer.module, name)
    except AttributeError:
        raise NameError(f"the program defines no {name!r}") from None


OPERATIONS = {
    "global": global_of,
    "attribute": lambda peer, target, name: getattr(target, name),
    "set": lambda peer, target, name, value: setattr(target, name, value),
    "iter": lambda peer, target: iter(target),
    "next": lambda peer, target: next(target),
    "len": lambda peer, target: len(target),
    "item": lambda peer, target, key: target[key],
    "set_item": lambda peer, target, key, value: target.__setitem__(key, value),
    "bool": lambda peer, target: bool(target),
    "str": lambda peer, target: str(target),
    "repr": lambda peer, target: repr(target),
}
