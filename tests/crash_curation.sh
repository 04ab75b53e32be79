#!/usr/bin/env bash
# Kills a curation at random moments, then changes what it depends on: nothing is judged twice, and the end is always that
# of a run of its own, to the byte.
#
#   tests/crash_curation.sh target/release/r1-distill [KILLS] [SEED] [TRACES]
#
# Kills: `kill -9` when so many files are there, spread over judging, clustering, verdicts and selection, and up to 0.3 s
# later. Each file of judged traces must stay as it was from when it was first seen. Changes: benchmarks, similarity,
# policy, tokenizer, more traces; the run says what it judged.
set -euo pipefail
binary=$(realpath "$1") kills=${2:-24} RANDOM=${3:-1} traces=${4:-40000}
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# Four samples a problem: right, right in other words, nearly the same again, and wrong.
write() {
  awk -v from="$1" -v to="$2" -v seed="$3" 'BEGIN {
    srand(seed)
    for (i = from; i < to; i++) {
      if (i % 4 != 2) { text = ""; for (w = 0; w < 160; w++) text = text " w" int(rand() * 900) }
      else text = text " and so on"
      p = int(i / 4); x = p % 977; y = int(p / 977)
      printf "{\"formated_question\":\"Case %d: what is %d + %d, says clerk %d?\",\"answer\":\"%d\",", p, x, y, p % 31, x + y
      printf "\"reason\":\"We add.%s\",\"gen_ans\":\"It is \\\\boxed{%d}.\"}\n", text, i % 4 == 3 ? x - y - 1 : x + y
    }
  }'
}
write 0 "$traces" 5 >traces.jsonl
{ cat traces.jsonl; write "$traces" $((traces + 100)) 6; } >more.jsonl
printf '{"question":"what is %d + 0, says clerk 7?"}\n' 7 100 300 >benchmark.jsonl
mkdir base && echo '{}' >base/config.json
cp "$root/teacher/assets/tokenizer.json" base/
sed -e 's/^name = .*/name = "crash"/' -e 's/^policy = .*/policy = "well_formed AND correct AND NOT near_duplicate"/' \
  "$root/recipes/r1-traces-smollm2.toml" >crash.toml
sed -i '/^\[student.base\]/i [curate.contamination]\npreset = "open-r1"\nbenchmarks = [{ name = "clerks", input = "clerks", question = "question" }]\n' crash.toml

inputs() { echo --input "traces=$1" --input base=base --input clerks=benchmark.jsonl; }
run() { # RECIPE TRACES RUNS
  "$binary" run "$1" $(inputs "$2") --to curate --runs "$3" 2>"$3.log" || { tail -1 "$3.log"; exit 1; }
}
outcome() { (cd "$1/crash/curate/" && sha256sum verdicts/* curated/*); }
same() { # RUNS and a run of its own of the same recipe and traces
  [[ $(outcome "$1") == "$(outcome "$2")" ]] || { echo "$1: other verdicts than $2"; exit 1; }
}
kept() { find "$1"/crash/*-curate-*/rules -name '*.parquet' -printf '%p %i %T@\n' 2>/dev/null | sort; }
files() { find killed/crash/3-curate-* -name '*.parquet' 2>/dev/null | wc -l; }
judged() { grep -o 'judged: .*' killed.log || echo "judged: all"; }

begun=$SECONDS
run crash.toml traces.jsonl straight
echo "$traces traces: $(sed -n '$p' straight.log)"
rules=$(find straight/crash/3-curate-*/rules/*/ -name '*.parquet' | wc -l)
parts=$(find straight/crash/curate/verdicts -name '*.parquet' | wc -l)

# The traces themselves are not what is tested here.
"$binary" run crash.toml $(inputs traces.jsonl) --to collect --runs killed 2>killed.log
touch seen
declare -A in=([judging]=0 [clustering]=0 [verdicts]=0 [selection]=0)
for ((i = 1; i <= kills; i++)); do
  "$binary" run crash.toml $(inputs traces.jsonl) --to curate --runs killed 2>killed.log &
  child=$!
  # Half of the kills while single traces are judged, a sixth in each of the others; these begin anew each time.
  case $((i * 6 / (kills + 1))) in
    0 | 1 | 2) goal=$((rules * 2 * i / (kills + 1))) ;;
    3) goal=$rules ;;
    4) goal=$((rules + 2 + RANDOM % parts)) ;;
    *) goal=$((rules + 2 + parts + RANDOM % parts)) ;;
  esac
  moment=$(printf '0.%03d' $((RANDOM % 300)))
  while (($(files) < goal)) && kill -0 "$child" 2>/dev/null; do sleep 0.01; done
  ((goal >= rules + 2)) || sleep "$moment"
  kill -9 "$child" 2>/dev/null || { echo "kill $i came after the end"; tail -1 killed.log; exit 1; }
  wait "$child" 2>/dev/null || true
  at=$(files)
  if ((at < rules)); then phase=judging; elif ((at < rules + 2)); then phase=clustering
  elif ((at < rules + 2 + parts)); then phase=verdicts; else phase=selection; fi
  in[$phase]=$((in[$phase] + 1))
  kept killed >now
  [[ -z $(comm -23 seen now) ]] || { echo "kill $i: written again:"; comm -23 seen now; exit 1; }
  mv now seen
done
run crash.toml traces.jsonl killed
same killed straight
[[ -z $(comm -23 seen <(kept killed)) ]] || { echo "judged again at the end"; exit 1; }
printf '%s kills:' "$kills"
for phase in judging clustering verdicts selection; do printf ' %s in %s,' "${in[$phase]}" "$phase"; done
echo " the same verdicts and selection, no file of $(wc -l <seen) written twice"

# What a change judges.
expect() { # WHAT RECIPE TRACES JUDGED
  run "$2" "$3" killed
  [[ $(judged) == "judged: $4; the rest is known from before" ]] || { echo "$1: $(judged), not $4"; exit 1; }
  rm -rf fresh && run "$2" "$3" fresh
  same killed fresh
  echo "$1: judged $4"
}
change() { sed "$1" crash.toml >changed.toml; ! cmp -s crash.toml changed.toml; }
change 's/NOT near_duplicate/NOT duplicate/'
expect "another policy" changed.toml traces.jsonl nothing
change 's/threshold = 0.9 }/threshold = 0.7 }/'
expect "another threshold" changed.toml traces.jsonl nothing
change 's/preset = "open-r1"/preset = "strict"/'
expect "another preset" changed.toml traces.jsonl "contamination of $traces traces"
change 's/bands = 20, rows = 6, threshold = 0.9 }/bands = 14, rows = 8, threshold = 0.9 }/'
expect "other sketches" changed.toml traces.jsonl "sketches of $traces traces"
echo >>base/tokenizer.json
expect "another tokenizer" crash.toml traces.jsonl "student_tokens of $traces traces"
each=("signals" "answers" "sketches" "student_tokens" "contamination")
expect "100 more traces" crash.toml more.jsonl "$(printf ', %s of 100 traces' "${each[@]}" | tail -c +3)"
echo "$((SECONDS - begun)) s"
