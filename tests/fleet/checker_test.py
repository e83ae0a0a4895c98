#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""The checker finds what it is there to find, and blames nobody else."""

import hashlib
import os
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import checker  # noqa: E402
import plan  # noqa: E402

DISK = "web/vda"
CONTENT = bytes(range(256)) * 16
DISKS = {DISK: {"size": len(CONTENT), "holders": ["s1", "s2"]}}


def fault(kind, who, begin, end, detail=None):
    return {"number": 0, "kind": kind, "who": who, "begin": begin, "end": end, "detail": detail}


def sha(offset, length):
    return hashlib.sha256(CONTENT[offset:offset + length]).hexdigest()


class CheckerTest(unittest.TestCase):
    def setUp(self):
        golden = tempfile.TemporaryDirectory()
        self.addCleanup(golden.cleanup)
        self.golden = golden.name
        os.mkdir(os.path.join(self.golden, "web"))
        with open(os.path.join(self.golden, DISK + ".raw"), "wb") as file:
            file.write(CONTENT)

    def judge(self, records, events=(), standstills=()):
        history = checker.History(list(events), DISKS, list(standstills))
        judged = checker.Checker(history, self.golden, slack=1.0)
        for record in records:
            judged.check(record)
        return [text for _, text in judged.violations]

    def read(self, begin, end, error=None, digest=None, server="s3"):
        digest = None if error else digest or sha(512, 512)
        return ["read", begin, end, "session", server, DISK, 512, 512, digest, error]

    def open(self, begin, end, error=None, server="s3"):
        return ["open", begin, end, "session", server, DISK, error]

    def test_right_bytes_in_time_are_well(self):
        self.assertEqual(self.judge([self.open(20, 20.1), self.read(20, 20.2)]), [])

    def test_a_wrong_byte_is_found(self):
        self.assertIn("WRONG BYTES", self.judge([self.read(20, 20.1, digest=sha(100, 512))])[0])

    def test_a_wrong_byte_is_not_forgiven_for_any_fault(self):
        events = [fault("freeze", ["s1"], 0, 99), fault("freeze", ["s2"], 0, 99)]
        self.assertTrue(self.judge([self.read(20, 20.1, digest=sha(100, 512))], events))

    def test_an_error_with_a_replica_left_is_found(self):
        events = [fault("freeze", ["s1"], 0, 99)]
        self.assertIn("EIO, though s2 had it", self.judge([self.read(20, 22, "EIO")], events)[0])

    def test_an_error_with_no_replica_left_is_allowed(self):
        events = [fault("freeze", ["s1"], 0, 99), fault("cut", ["s3", "s2"], 19, 40)]
        self.assertEqual(self.judge([self.read(20, 32, "EIO")], events), [])

    def test_a_link_of_others_excuses_nobody(self):
        events = [fault("freeze", ["s1"], 0, 99), fault("cut", ["s4", "s2"], 19, 40)]
        self.assertTrue(self.judge([self.read(20, 32, "EIO")], events))

    def test_a_split_parts_the_inside_from_the_outside_only(self):
        split = fault("split", ["s1", "s2"], 0, 99, {"database nodes": []})
        self.assertEqual(self.judge([self.read(20, 32, "EIO")], [split]), [])
        split["who"] = ["s1", "s2", "s3"]
        self.assertTrue(self.judge([self.read(20, 32, "EIO")], [split]))

    def test_an_own_image_is_always_there(self):
        events = [fault("freeze", ["s2"], 0, 99)]
        self.assertTrue(self.judge([self.read(20, 21, "EIO", server="s1")], events))

    def test_a_stall_without_a_fault_is_found(self):
        self.assertIn("it took 2.00 s", self.judge([self.read(20, 22)])[0])

    def test_a_stall_is_allowed_what_the_fault_may_cost(self):
        events = [fault("freeze", ["s1"], 19, 30)]
        self.assertEqual(self.judge([self.read(20, 23.4)], events), [])
        self.assertTrue(self.judge([self.read(20, 25)], events))
        events = [fault("kill", ["s1"], 19, 30)]
        self.assertTrue(self.judge([self.read(20, 23.8)], events))

    def test_no_stall_is_longer_than_the_longest(self):
        events = [fault("freeze", ["s1"], 0, 99), fault("freeze", ["s2"], 0, 99)]
        self.assertTrue(self.judge([self.read(20, 34, "EIO")], events))

    def test_what_the_machine_stood_still_counts_for_nobody(self):
        self.assertEqual(self.judge([self.read(20, 22)], standstills=[(20.2, 21.8)]), [])

    def test_a_bound_is_extended_by_what_was_measured_only(self):
        self.assertTrue(self.judge([self.read(20, 23)], standstills=[(20.2, 21.2)]))

    def test_a_refusal_while_the_machine_stands_still_is_not_judged(self):
        refused = [self.open(20, 20.5, "refused: 2")]
        self.assertEqual(self.judge(refused, standstills=[(19.7, 20.1)]), [])
        self.assertTrue(self.judge(refused, standstills=[(15, 16)]))

    def test_a_frozen_server_answers_when_it_goes_on(self):
        events = [fault("freeze", ["s3"], 20, 28)]
        self.assertEqual(self.judge([self.read(20, 28.3)], events), [])

    def test_a_lost_connection_needs_a_killed_server(self):
        self.assertTrue(self.judge([self.read(20, 20.1, "lost")]))
        killed = [fault("kill", ["s3"], 20, 21)]
        self.assertEqual(self.judge([self.read(20, 20.1, "lost")], killed), [])

    def test_an_answer_that_never_comes_is_found(self):
        events = [fault("freeze", ["s1"], 0, 99), fault("freeze", ["s2"], 0, 99)]
        self.assertTrue(self.judge([self.read(20, 45, "hung")], events))

    def test_an_open_is_refused_only_without_catalog_or_replicas(self):
        refused = [self.open(20, 20.1, "refused: 2")]
        self.assertTrue(self.judge(refused))
        both = {"nodes": [0, 1]}
        self.assertEqual(self.judge(refused, [fault("database-freeze", [], 15, 18, both)]), [])
        self.assertTrue(self.judge(refused, [fault("database-freeze", [], 5, 9, both)]))
        own = [self.open(20, 20.1, "refused: 2", server="s1")]
        self.assertTrue(self.judge(own, [fault("database-freeze", [], 15, 30, both)]))

    def test_one_node_of_the_database_is_enough(self):
        refused = [self.open(20, 20.1, "refused: 2")]
        stopped = fault("database-stop", [], 15, 30)
        self.assertTrue(self.judge(refused, [stopped]))
        apart = fault("split", ["s3", "s1", "s2"], 8, 30, {"database nodes": [0]})
        self.assertTrue(self.judge(refused, [apart]))
        self.assertEqual(self.judge(refused, [stopped, apart]), [])

    def test_a_database_that_has_just_fallen_silent_leaves_the_other_node(self):
        refused = [self.open(20, 20.5, "refused: 2")]
        frozen = fault("database-freeze", [], 19.9, 30, {"nodes": [0]})
        self.assertTrue(self.judge(refused, [frozen]))
        apart = fault("split", ["s1"], 19.9, 30, {"database nodes": [0]})
        self.assertTrue(self.judge(refused, [apart]))

    def test_an_open_without_catalog_takes_a_second(self):
        stopped = [fault("database-freeze", [], 0, 99, {"nodes": [0, 1]})]
        self.assertTrue(self.judge([self.open(20, 22.5, "refused: 2")], stopped))

    def test_hostile_rows_spoil_their_location_only(self):
        rows = fault("rows", ["s1", DISK, "other"], 0, 99, "digest")
        events = [rows, fault("freeze", ["s2"], 0, 99)]
        self.assertEqual(self.judge([self.read(20, 32, "EIO")], events), [])
        rows["who"][1] = "other"
        self.assertTrue(self.judge([self.read(20, 32, "EIO")], events))
        rows["detail"] = "uri-local"
        self.assertEqual(self.judge([self.read(20, 32, "EIO")], events), [])

    def test_a_wrong_row_hides_the_others_while_its_server_is_away(self):
        events = [fault("rows", ["s1", DISK, "other"], 0, 99, "whole"),
                  fault("kill", ["s1"], 19, 30)]
        refused = [self.open(20, 22, "refused: 2")]
        self.assertEqual(self.judge(refused, events), [])
        self.assertTrue(self.judge(refused, events[:1]))
        self.assertTrue(self.judge(refused, events[1:]))

    def test_a_moved_disk_need_not_be_where_it_was(self):
        events = [fault("move", ["s1", "s4", DISK], 10, 12), fault("freeze", ["s2"], 0, 99)]
        self.assertEqual(self.judge([self.read(20, 32, "EIO")], events), [])
        self.assertTrue(self.judge([self.read(5, 8, "EIO")], events))

    def test_who_reads_a_disk_that_is_moved_copied_or_drained_notices_nothing(self):
        for kind, who in (("move", ["s1", "s4", DISK]), ("copy", ["s4", DISK]), ("drain", ["s1"])):
            event = fault(kind, who, 19, 21)
            self.assertEqual(self.judge([self.read(20, 21.4)], [event]), [])
            self.assertIn("it took 1.60 s", self.judge([self.read(20, 21.6)], [event])[0])

    def test_where_a_disk_was_moved_to_may_fail_as_any_other(self):
        moved = fault("move", ["s1", "s4", DISK], 10, 12)
        frozen = fault("freeze", ["s4"], 19, 30)
        self.assertEqual(self.judge([self.read(20, 23.4)], [moved, frozen]), [])
        self.assertTrue(self.judge([self.read(20, 23.4)], [frozen]))
        self.assertTrue(self.judge([self.read(20, 22, "EIO")], [moved, frozen]))

    def test_only_wrong_rows_excuse_a_move_that_failed(self):
        moved = fault("move", ["s1", "s4", DISK], 10, 12)
        wrong = fault("rows", ["s1", DISK, "other"], 9, 11, "whole")
        address = fault("rows", ["s1", "other", DISK], 9, 11, "uri-other")
        others = fault("rows", ["s1", "other", DISK], 9, 11, "whole")
        over = fault("rows", ["s1", DISK, "other"], 7, 9, "whole")
        for event, misled in ((wrong, True), (address, True), (others, False), (over, False),
                              (fault("freeze", ["s1"], 9, 11), False)):
            self.assertEqual(checker.History([moved, event], DISKS, []).misled(moved), misled)

    def test_only_a_standby_that_was_behind_excuses_a_move_that_is_forgotten(self):
        moved = fault("move", ["s1", "s4", DISK], 10, 12)
        apart = fault("split", ["s1"], 5, 11, {"database nodes": [0]})
        together = fault("split", ["s1"], 5, 11, {"database nodes": [0, 1]})
        soon, late = (fault("database-failover", [], time, 20) for time in (10.5, 14))
        before = fault("database-failover", [], 9, 20)
        for events, lost in (([soon], True), ([late], False), ([before], False), ([], False),
                             ([late, apart], True), ([late, together], False), ([apart], False)):
            history = checker.History([moved, *events], DISKS, [])
            self.assertEqual(history.lost_by_failover(moved), lost)

    def test_an_open_may_follow_a_disk_that_has_moved_once(self):
        moved = [fault("move", ["s1", "s4", DISK], 19, 21)]
        self.assertEqual(self.judge([self.open(20, 22.9)], moved), [])
        self.assertTrue(self.judge([self.open(20, 23.1)], moved))
        self.assertTrue(self.judge([self.open(20, 22.1)], [fault("drain", ["s1"], 19, 21)]))

    def test_bytes_that_have_rotted_are_replaced_in_a_second(self):
        rotten = [fault("rot", ["s1", DISK], 10, 12)]
        self.assertEqual(self.judge([self.read(20, 22.4)], rotten), [])
        self.assertTrue(self.judge([self.read(20, 22.6)], rotten))

    def test_a_copy_excuses_its_server_only_while_that_is_gone(self):
        copying = fault("copy", ["s3", DISK], 18, 30)
        self.assertTrue(self.judge([self.read(20, 20.1, "lost")], [copying]))
        killed = fault("kill", ["s3", DISK], 19, 30)
        self.assertEqual(self.judge([self.read(20, 20.1, "lost")], [copying, killed]), [])

    def test_what_has_rotted_is_good_nowhere_but_elsewhere(self):
        events = [fault("rot", ["s1", DISK], 10, 12), fault("freeze", ["s2"], 0, 99)]
        self.assertEqual(self.judge([self.read(20, 32, "EIO")], events), [])
        self.assertTrue(self.judge([self.read(20, 20.1, digest=sha(100, 512))], events))

    def writes(self, name, *times):
        return [["write", time, time + 0.1, name, 0, f"{name} {time}", None] for time in times]

    def judge_writers(self, records, events=(), until=0):
        history = checker.History(list(events), DISKS, [])
        return [text for _, text in checker.check_writers(history, records, until)[0]]

    def test_one_writer_takes_over_from_another_when_its_server_has_gone(self):
        gone = [fault("writer", ["w1", "w2"], 10, 40)]
        records = self.writes("a0", 1, 9) + self.writes("a1", 27, 50)
        self.assertEqual(self.judge_writers(records, gone), [])
        self.assertIn("a1 writes, though a0 is well", self.judge_writers(records)[0])

    def test_a_standby_that_was_behind_may_forget_who_writes(self):
        records = self.writes("a0", 1, 9) + self.writes("a1", 27, 50)
        over = fault("database-failover", [], 20, 25)
        apart = fault("split", ["s1"], 5, 11, {"database nodes": [0]})
        self.assertEqual(self.judge_writers(records, [over, apart]), [])
        self.assertIn("a1 writes, though a0 is well", self.judge_writers(records, [over])[0])
        both = records + self.writes("a0", 28)
        self.assertIn("two writers", self.judge_writers(both, [over, apart])[0])

    def test_two_writers_at_once_are_found(self):
        gone = [fault("writer", ["w1", "w2"], 10, 40)]
        records = self.writes("a0", 1, 9, 41) + self.writes("a1", 27, 50)
        self.assertIn("two writers", self.judge_writers(records, gone)[0])

    def test_a_write_that_is_held_until_its_turn_makes_no_second_writer(self):
        gone = [fault("writer", ["w1", "w2"], 10, 40)]
        held = ["write", 8, 27, "a1", 0, "a1 8", None]
        self.assertEqual(self.judge_writers([*self.writes("a0", 1, 9), held], gone), [])
        self.assertIn("two writers",
                      self.judge_writers([*self.writes("a0", 1, 9, 27), held], gone)[0])

    def test_a_disk_that_nobody_may_write_any_more_is_found(self):
        gone = [fault("writer", ["w1", "w2"], 10, 40)]
        self.assertIn("no other writer", self.judge_writers(self.writes("a0", 1, 9), gone)[0])
        late = self.writes("a0", 1, 9) + self.writes("a1", 36)
        self.assertIn("no other writer", self.judge_writers(late, gone)[0])
        back = [fault("writer", ["w1", "w2"], 10, 20)]
        self.assertEqual(self.judge_writers(self.writes("a0", 1, 9, 21), back), [])

    def test_a_takeover_waits_for_the_database_only(self):
        gone = fault("writer", ["w1", "w2"], 10, 60)
        stopped = fault("database-stop", [], 24, 28)
        late = self.writes("a0", 1, 9) + self.writes("a1", 46)
        self.assertIn("no other writer", self.judge_writers(late, [gone])[0])
        self.assertEqual(self.judge_writers(late, [gone, stopped]), [])
        later = self.writes("a0", 1, 9) + self.writes("a1", 48)
        self.assertIn("no other writer", self.judge_writers(later, [gone, stopped])[0])

    def test_after_the_last_fault_somebody_can_write(self):
        stopped = [fault("database-stop", [], 10, 20)]
        self.assertEqual(self.judge_writers(self.writes("a0", 1, 29), stopped, 34), [])
        self.assertIn("nobody could write for 10 s",
                      self.judge_writers(self.writes("a0", 1, 31), stopped, 34)[0])

    def test_nobody_who_could_ever_write_is_found(self):
        refused = [["write", 1, 2, "a0", 0, "a0 1", "EPERM"]]
        self.assertIn("nobody could write at all", self.judge_writers(refused)[0])

    def not_well(self, record, still=0.0, wrong=False):
        return checker.not_well([record], lambda _: wrong, lambda _begin, _end: still, slack=1.0)

    def test_a_sweep_finds_what_failed_was_wrong_or_late(self):
        self.assertFalse(self.not_well(self.read(20, 20.1)))
        self.assertTrue(self.not_well(self.read(20, 20.1), wrong=True))
        self.assertTrue(self.not_well(self.read(20, 20.1, "EIO")))
        self.assertTrue(self.not_well(self.open(20, 20.1, "refused: 2")))
        self.assertTrue(self.not_well(self.read(20, 21.6)))
        self.assertFalse(self.not_well(self.read(20, 21.6), still=0.2))
        self.assertFalse(self.not_well(self.open(20, 21.9)))
        self.assertTrue(self.not_well(self.open(20, 22.1)))

    def healing(self, well, beating, standstills=()):
        history = checker.History([], DISKS, list(standstills))
        return [text for _, text in checker.check_healing(history, 100, well, beating)]

    def test_everything_heals_within_ten_seconds(self):
        self.assertEqual(self.healing(100, 105), [])
        self.assertEqual(self.healing(109.9, 109.9), [])
        self.assertIn("each disk could be had", self.healing(110.1, 105)[0])
        self.assertIn("each server had beaten", self.healing(100, 110.1)[0])
        self.assertTrue(self.healing(float("inf"), 105))
        self.assertTrue(self.healing(100, float("inf")))

    def test_healing_takes_longer_by_what_the_machine_stood_still(self):
        self.assertEqual(self.healing(110.9, 105, [(103, 104)]), [])
        self.assertTrue(self.healing(110.9, 105, [(98, 99.9)]))

    def test_a_storm_of_connects_is_found(self):
        cut = {**fault("cut", ["s1", "s3"], 9, 25), "whole": [10, 20]}
        history = checker.History([cut], DISKS, [])
        names = {"a": "s1", "b": "s3"}
        calm = {("b", "a"): [10 + 0.5 * n for n in range(20)]}
        self.assertEqual(checker.check_connects(history, calm, names)[0], [])
        storm = {("b", "a"): [10 + 0.1 * n for n in range(50)]}
        self.assertTrue(checker.check_connects(history, storm, names)[0])
        for begin in (1, 21):
            outside = {("b", "a"): [begin + 0.1 * n for n in range(50)]}
            self.assertEqual(checker.check_connects(history, outside, names)[0], [])
        lossy = checker.History([{**cut, "kind": "flaky"}], DISKS, [])
        self.assertEqual(checker.check_connects(lossy, storm, names)[0], [])


class PlanTest(unittest.TestCase):
    SERVERS = [f"s{number}" for number in range(8)]
    READ = {f"disk{number}": ["s1", "s2", "s3"] for number in range(4)}

    def make(self, seed):
        return plan.make(seed, self.SERVERS, self.READ, 60, rotting={"rot": ["s1", "s2", "s3"]})

    def test_a_seed_is_one_plan(self):
        self.assertEqual(self.make(7), self.make(7))
        self.assertNotEqual(self.make(7), self.make(8))

    def test_all_kinds_come_and_none_comes_late(self):
        faults = [fault_ for seed in range(50) for fault_ in self.make(seed)]
        self.assertEqual({fault_.kind for fault_ in faults}, set(plan.KINDS))
        self.assertLessEqual(max(fault_.end() for fault_ in faults), 60 - plan.HEAL)

    def test_one_server_has_one_fault_of_its_process_at_a_time(self):
        for seed in range(20):
            faults = [fault_ for fault_ in self.make(seed) if fault_.kind in ("kill", "freeze")]
            for number, earlier in enumerate(faults):
                for later in faults[number + 1:]:
                    if later.who == earlier.who:
                        self.assertGreater(later.start, earlier.end())


    def test_each_disk_is_moved_or_copied_or_rots_once(self):
        for seed in range(20):
            disks = [fault_.who[-1] for fault_ in self.make(seed) if fault_.kind in plan.FOR_GOOD]
            self.assertEqual(len(disks), len(set(disks)))


if __name__ == "__main__":
    unittest.main()
