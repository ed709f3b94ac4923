# SPDX-License-Identifier: MIT
# Every call of base/ranks.h under mpirun.
. tests/mpi/mpirun.sh
RANKS=${PREP_BIN%/bin}/tests/mpi/ranks

for n in 1 2 4; do
    begin "$n ranks move bytes, add in rank order and agree"
    ranks -n $n "$RANKS"
    expect_exit 0
    expect_stdout "ok $n ranks: moves bytes between ranks
ok $n ranks: sums in rank order
ok $n ranks: agrees when all is well
ok $n ranks: takes the least and adds counts"
done

begin 'a rank that fails stops the others, and all end with its error'
ranks -n 3 "$RANKS" fail
expect_exit 73
expect_stdout 'rank NO_ROOM: rank 2: the disk is full'

begin 'a rank that dies takes the others with it'
ranks -n 3 "$RANKS" die
expect_exit 137
