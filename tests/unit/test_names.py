"""C++ symbols become readable names, whatever a kernel's symbol table holds."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes import names


@pytest.mark.parametrize(
    ("symbol", "shown"),
    [
        ("_ZN5sched3cpu8scheduleEv", "sched::cpu::schedule"),
        ("_ZN5sched3cpu8scheduleEv.constprop.0", "sched::cpu::schedule"),
        ("_ZN5sched6threadD1Ev", "sched::thread::~thread"),
        ("_Znwm", "operator new"),
        ("_ZdaPv", "operator delete[]"),
        ("_ZNSt5dequeIcSaIcEE8_M_eraseESt15_Deque_iteratorIcRcPcES5_", "std::deque::_M_erase"),
        ("tcp_output", "tcp_output"),
        ("sbcompress.part.0", "sbcompress.part.0"),
        ("_Znonsense", "_Znonsense"),
        ("_Z", "_Z"),
        ("", ""),
        ("[unknown]", "[unknown]"),
    ],
)
def test_a_symbol_is_shown_as_the_name_in_its_source(symbol: str, shown: str) -> None:
    assert names.can_demangle()
    assert names.readable(symbol) == shown


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("void* do_small_memcpy<52ul>(void*, void const*)", "do_small_memcpy"),
        ("a::operator<(a const&)", "a::operator<"),
        ("a::operator->() const", "a::operator->"),
        ("mmu::map_level<mmu::unpopulate<(mmu::account_opt)0>, 1>::operator()(int) [clone .isra.0]",
         "mmu::map_level::operator()"),
        ("std::basic_ostream<char>& std::operator<< <std::char_traits<char> >(char)", "std::operator<<"),
        ("std::_Function_handler<int (char const*), openat::{lambda(char const*)#1}>::_M_invoke(int)",
         "std::_Function_handler::_M_invoke"),
        ("f(int)::{lambda(int)#2}::operator()(int) const", "f::{lambda#2}::operator()"),
        ("(anonymous namespace)::tracepointv<8u, std::tuple<int> (int)>::operator()(int)",
         "(anonymous namespace)::tracepointv::operator()"),
        ("a::operator unsigned long() const", "a::operator unsigned long"),
        ("trace::dump[abi:cxx11]()::chunk::~chunk()", "trace::dump::chunk::~chunk"),
    ],
)  # fmt: skip
def test_a_declaration_loses_what_is_not_its_name(text: str, name: str) -> None:
    assert names.qualified(text) == name


def test_a_symbol_made_to_fill_memory_is_left_as_it_is() -> None:
    """Each substitution doubles what is demangled; with 40 of them, 230 bytes become 10 TB."""
    digits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    bomb = "_Z1f1XIiiE" + "".join(f"S_IS{digit}_S{digit}_E" for digit in digits)
    began = time.monotonic()
    assert names.readable(bomb) == bomb
    assert names.readable("_Z1f" + "P" * 100_000 + "i").startswith("_Z1f")
    assert time.monotonic() - began < 1
    small = "_Z1f1XIiiE" + "".join(f"S_IS{digit}_S{digit}_E" for digit in digits[:4])
    assert names.readable(small) == "f"


@given(st.text("_ZNSt5dequeIcaE0123TvK(<>){}[] ~:.", max_size=60))
def test_any_name_is_bounded_and_never_empty(text: str) -> None:
    for symbol in (text, "_Z" + text):
        shown = names.readable(symbol)
        assert shown == symbol or 0 < len(shown) <= 200
        assert names.qualified(symbol) or not symbol
