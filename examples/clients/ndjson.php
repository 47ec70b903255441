<?php // Follow a channel: php ndjson.php http://127.0.0.1:4071 time
$stream = fopen("$argv[1]/channels/$argv[2]/ndjson", "r");
while (($line = fgets($stream)) !== false) {
    $told = json_decode($line);
    if (isset($told->data)) echo $told->data, "\n";
}
