# Keeps one mariadbd: obeys the words that come in, and when no more can come, because the test ended or was killed, ends the server and
# removes its folder. Usage: guard.sh FOLDER PROGRAM ARGUMENT...
trap '' INT TERM HUP
folder=$1
shift
pid=
end() {
  [ -z "$pid" ] || { kill -9 "$pid"; wait "$pid"; } 2>/dev/null
  pid=
}
while read -r word; do
  case $word in
    start) "$@" >>"$folder/log" 2>&1 & pid=$! ;;
    kill) end ;;
    alive) kill -0 "$pid" 2>/dev/null || word=dead ;;
  esac
  echo "$word"
done
end
rm -rf "$folder"
