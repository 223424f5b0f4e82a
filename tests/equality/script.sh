# A shell script that forks: subshells, pipelines, command substitution, background jobs, traps, programs.
for i in 1 2 3 4; do
	(echo "sub $i"; (exit 3)) | while read -r word rest; do echo "$word-$rest"; done > /tmp/o$i
	/bin/ls -l /tmp > /dev/null
done
read -r first < /tmp/o1
there=$(/bin/cat /tmp/o1 /tmp/o2 | /bin/cat)
trap 'echo usr1 $first' USR1
kill -USR1 $$
/bin/sleep 0.05 & other=$!
(kill -USR1 $$)
wait $other
echo "$there" | /bin/cat > /tmp/all
/bin/nothing-there 2> /dev/null
exec /bin/ls /tmp/nowhere
