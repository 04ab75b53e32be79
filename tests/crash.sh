#!/usr/bin/env bash
# Kills a training at random moments and fills its disk; each time the end must be that of an undisturbed run, to the bit.
#
#   tests/crash.sh target/release/r1-distill [KILLS] [SEED]
#
# Kills: `kill -9` at a random moment in each part of the training; every other one then waits until a checkpoint is being
# written, which would else be hit too rarely. Compared are the exported weights (those of the lowest evaluation loss) and
# the step, loss and evaluation loss of every line of metrics.jsonl. Disk: a small file system of its own, filled until a
# checkpoint no longer fits; skipped where one cannot be mounted.
set -euo pipefail
binary=$(realpath "$1") kills=${2:-20} RANDOM=${3:-1}
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

# A model and a training large enough that there is something to interrupt.
sed -e 's/^name = .*/name = "crash"/' -e 's/count = 16000/count = 2400/' -e 's/count = 200/count = 4/' \
  -e 's/hidden_size = 192/hidden_size = 96/' -e 's/intermediate_size = 512/intermediate_size = 192/' \
  -e 's/num_hidden_layers = 6/num_hidden_layers = 3/' -e 's/num_attention_heads = 6/num_attention_heads = 4/' \
  -e 's/max_tokens = 200/max_tokens = 16/' -e 's/held_out = 0/held_out = 20/' -e 's/# eval_every = 50 /eval_every = 7 /' \
  -e 's/keep_best = false/keep_best = true/' "$root/recipes/embedded-teacher.toml" >crash.toml

run() { "$binary" run crash.toml --runs "$1" "${@:2}" 2>>"$1.log"; }
# What must be equal: the weights and the curve.
outcome() {
  (cd "$1/crash/export/model" && sha256sum -- *.safetensors)
  grep -o '"step":[0-9]*,"loss":[^,]*\|"eval_loss":[^}]*' "$1/crash/train/student/metrics.jsonl" | sha256sum
}
compare() {
  [[ $(outcome straight) == "$(outcome "$1")" ]] || { echo "$1: the end is another"; tail -3 "$1.log"; exit 1; }
}

run straight
steps=$(wc -l <straight/crash/train/student/metrics.jsonl)

run killed --to pack
lines() { cat killed/crash/5-train-*/student/metrics.jsonl 2>/dev/null | wc -l; }
writing() { compgen -G 'killed/crash/5-train-*/student/.writing/*' >/dev/null; }
torn=0 places=
for ((i = 1; i <= kills; i++)); do
  "$binary" run crash.toml --runs killed --to train --checkpoint-seconds 0.05 2>>killed.log &
  child=$!
  # In the i-th part of the training, then up to 0.15 s later.
  part=$((steps * i / (kills + 2))) moment=$(printf '0.%03d' $((RANDOM % 150)))
  while (($(lines) < part)) && kill -0 "$child" 2>/dev/null; do sleep 0.02; done
  sleep "$moment"
  if ((i % 2 == 0)); then
    until writing || ! kill -0 "$child" 2>/dev/null; do :; done
  fi
  kill -9 "$child" 2>/dev/null || { echo "kill $i came after the end of the training"; tail -1 killed.log; exit 1; }
  wait "$child" 2>/dev/null || true
  if writing; then torn=$((torn + 1)); fi
  places+=" $(lines)"
done
run killed --checkpoint-seconds 0.05
compare killed
echo "$kills kills after steps$places, $torn of them in the writing of a checkpoint: the same weights and curve"

if ! unshare -rm true 2>/dev/null; then
  echo "skipped: full disk (no file system can be mounted here)"
  exit 0
fi
mkdir full
export -f run
export binary
# In a mount namespace of its own; what is in it ends with it.
unshare -rm bash -c '
  set -euo pipefail
  mount -t tmpfs -o size=256m none full
  run full --to pack
  "$binary" run crash.toml --runs full --to train --checkpoint-seconds 0 2>/dev/null &
  child=$!
  until compgen -G "full/crash/5-train-*/student/step-*/state.json" >/dev/null; do sleep 0.02; done
  kill -9 "$child"; wait "$child" 2>/dev/null || true
  checkpoint() { (cd "$(ls -d full/crash/5-train-*/student/step-* | tail -1)" && pwd && sha256sum *); }
  before=$(checkpoint)
  dd if=/dev/zero of=full/filler bs=64k 2>/dev/null || true
  truncate -s -1M full/filler
  code=0
  run full --to train --checkpoint-seconds 0 || code=$?
  message=$(tail -1 full.log)
  echo "full disk, exit code $code: $message"
  [[ $code == 1 && $message == *"cannot be saved in"*"No space left"*"is good"*"make room"* ]]
  [[ $(checkpoint) == "$before" ]] || { echo "the checkpoint before it was touched"; exit 1; }
  rm full/filler
  run full
  cp -r full refilled
'
compare refilled
echo "with room again: the same weights and curve"
