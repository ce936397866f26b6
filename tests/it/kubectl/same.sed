# What differs from server to server and from run to run.
s/[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/UID/g
s/(resourceVersion"?: )"?[0-9]+"?/\1"REVISION"/
s/20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:.]+Z/TIME/g
s/(^(---|\+\+\+) ).*\/(LIVE|MERGED)-[0-9]+\/([^\t ]*).*/\1\3 \4/
s/^diff -u -N .*\/(LIVE)-[0-9]+\/([^ ]*).*/diff \2/
s/gen-[a-z0-9]{5}/gen-RANDOM/
s/far-[a-z0-9]{5}( |$|")/far-RANDOM\1/
s/([^ ]) {3,}/\1   /g
s/(^|   )([0-9]+[smhdy])+( |$)/\1AGE\3/g
s/ over [0-9]+[smhdy]+\)/ over AGE)/
s/ [0-9]+ bytes$/ N bytes/
s/patch: Invalid value: .*: strict decoding/patch: Invalid value: PATCH: strict decoding/
s/ deleted from [a-z]+ namespace/ deleted/
# What the client library logs is about its own timing.
/^[IWEF][0-9]{4} [0-9:.]+ +[0-9]+ [a-z_]+\.go:[0-9]+\]/d
