#!/bin/sh
# runc for a machine whose own capabilities lack CAP_SYS_RESOURCE. Every privileged container asks for it, and runc then
# refuses to start; nodes do without. So it is taken out of what runc reads, as is what only that capability permits:
# raised limits and a negative score for the OOM killer.
set -eu
reduce='del(.rlimits) | if (.oomScoreAdj // 0) < 0 then del(.oomScoreAdj) else . end
  | if .capabilities then .capabilities |= map_values(map(select(. != "CAP_SYS_RESOURCE"))) else . end'

edit() {
  jq "$2" "$1" > "$1.reduced"
  cat "$1.reduced" > "$1"     # into the same file: its owner and mode are runc's business
  rm "$1.reduced"
}

verb='' bundle=. process='' before=''
for word in "$@"; do
  case $before in
    --bundle | -b) bundle=$word ;;
    --process | -p) process=$word ;;
  esac
  case $word in create | run | exec) verb=${verb:-$word} ;; esac
  before=$word
done

case $verb in
  create | run) edit "$bundle/config.json" ".process |= ($reduce)" ;;
  exec) [ -z "$process" ] || edit "$process" "$reduce" ;;
esac
exec runc "$@"
