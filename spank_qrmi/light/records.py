# SPDX-License-Identifier: GPL-3.0-or-later
"""`dataclasses`, as far as classes need it that a job waits for.

The standard library writes, compiles and runs source code for each class: half a millisecond for
each, and five for the modules that do it, which was half of the time a worker took to import. To
type checkers these are the standard library's.
"""

from spank_qrmi.light.type_hints import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import asdict, dataclass, field, fields, replace
else:
    _MISSING = object()

    class _Field:
        """One field; `name` is known once its class is there."""

        __slots__ = ("default", "default_factory", "is_shown", "name")

        def __init__(self, default, default_factory, is_shown):
            self.default = default
            self.default_factory = default_factory
            self.is_shown = is_shown

    def field(*, default=_MISSING, default_factory=_MISSING, repr=True):
        """Return what a class says of one field beside its type."""
        return _Field(default, default_factory, repr)

    def fields(record):
        """Return the fields of an object or class, in order, each with its `name`."""
        return record.__record_fields__

    def asdict(record):
        """Return names and values, also of the dataclasses among the values."""
        values = dict(record.__dict__)
        for name, value in values.items():
            if hasattr(value, "__record_fields__"):
                values[name] = asdict(value)
        return values

    def replace(record, /, **changes):
        """Return the object with other values for some of its fields; TypeError if it has none."""
        return type(record)(**{**record.__dict__, **changes})

    def dataclass(cls=None, /, *, frozen=False):
        """Give a class without base classes of this kind the usual methods for its fields."""
        if cls is None:
            return lambda decorated: _with_methods(decorated, frozen)
        return _with_methods(cls, frozen)

    def _with_methods(cls, is_frozen):
        all_fields = tuple(_field_of(cls, name) for name in cls.__annotations__)
        cls.__record_fields__ = all_fields
        cls.__match_args__ = tuple(each.name for each in all_fields)
        cls.__init__ = _init
        cls.__repr__ = _repr
        cls.__eq__ = _eq
        cls.__hash__ = _hash if is_frozen else None
        if is_frozen:
            cls.__setattr__ = _refuse_change
            cls.__delattr__ = _refuse_change
        return cls

    def _field_of(cls, name):
        given = cls.__dict__.get(name, _MISSING)
        if isinstance(given, _Field):
            delattr(cls, name)
        else:
            given = _Field(given, _MISSING, is_shown=True)
        given.name = name
        return given

    def _init(self, *arguments, **named):
        values = self.__dict__
        all_fields = self.__record_fields__
        if len(arguments) > len(all_fields):
            message = f"{type(self).__name__} takes {len(all_fields)} values"
            raise TypeError(message)
        for index, each in enumerate(all_fields):
            name = each.name
            if index < len(arguments):
                values[name] = arguments[index]
            elif name in named:
                values[name] = named.pop(name)
            elif each.default is not _MISSING:
                values[name] = each.default
            elif each.default_factory is not _MISSING:
                values[name] = each.default_factory()
            else:
                message = f"{type(self).__name__} needs {name}"
                raise TypeError(message)
        if named:
            message = f"{type(self).__name__} has no {next(iter(named))} left to set"
            raise TypeError(message)

    def _values(record):
        return tuple(record.__dict__[each.name] for each in record.__record_fields__)

    def _repr(self):
        shown = (each.name for each in self.__record_fields__ if each.is_shown)
        texts = (f"{name}={self.__dict__[name]!r}" for name in shown)
        return f"{type(self).__qualname__}({', '.join(texts)})"

    def _eq(self, other):
        if type(other) is not type(self):
            return NotImplemented
        return _values(self) == _values(other)

    def _hash(self):
        return hash(_values(self))

    def _refuse_change(self, name, *_value):
        message = f"cannot change {name} of a {type(self).__name__}"
        raise AttributeError(message)


__all__ = ["asdict", "dataclass", "field", "fields", "replace"]
