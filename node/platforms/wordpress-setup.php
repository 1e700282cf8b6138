<?php
// Installs WordPress and writes what the tests look for. Called with the folder of
// the code and the address; users are read as JSON; what was made is written so.
$ask = json_decode(stream_get_contents(STDIN), true);
mysqli_report(MYSQLI_REPORT_OFF);
[, $code, $url] = $argv;
$_SERVER['HTTP_HOST'] = parse_url($url, PHP_URL_HOST) . ':' . parse_url($url, PHP_URL_PORT);
$_SERVER['SERVER_PROTOCOL'] = 'HTTP/1.1';
$_SERVER['REQUEST_METHOD'] = 'GET';
$_SERVER['REQUEST_URI'] = '/';
$_SERVER['REMOTE_ADDR'] = '127.0.0.1';

$db = @new mysqli('localhost', 'root', '', '', 0, dirname($code) . '/db.sock');
if ($db->connect_errno) {
	fwrite(STDERR, "the database can't be reached yet: {$db->connect_error}\n");
	exit(1);
}
$db->query('CREATE DATABASE IF NOT EXISTS wordpress CHARACTER SET utf8mb4');
$db->close();

define('WP_INSTALLING', true);
require $code . '/wp-load.php';
require_once ABSPATH . 'wp-admin/includes/upgrade.php';
wp_install('Le blog de la classe', 'direction', 'direction@school.example', true, '', 'pass-direction-word-1789');
switch_theme('twentytwentyone');
update_option('permalink_structure', '/%year%/%monthnum%/%postname%/');
update_option('comment_moderation', '1');
update_option('comment_previously_approved', '1');
update_option('show_comments_cookies_opt_in', '1');
update_option('comments_notify', '0');
update_option('moderation_notify', '0');
global $wp_rewrite;
$wp_rewrite->init();
$wp_rewrite->set_permalink_structure('/%year%/%monthnum%/%postname%/');
flush_rewrite_rules(false);

function path_of($id) {
	$u = wp_parse_url(get_permalink($id));
	return $u['path'] . (isset($u['query']) ? '?' . $u['query'] : '');
}

function post($author, $fields) {
	$id = wp_insert_post($fields + ['post_author' => $author, 'post_status' => 'publish', 'post_type' => 'post', 'comment_status' => 'open'], true);
	if (is_wp_error($id)) {
		fwrite(STDERR, $id->get_error_message() . "\n");
		exit(1);
	}
	return $id;
}

// Comments come one after the other from one address.
wp_mkdir_p(WPMU_PLUGIN_DIR);
file_put_contents(WPMU_PLUGIN_DIR . '/tests.php', "<?php\nadd_filter('wp_is_comment_flood', '__return_false', 99);\n");

$head = get_user_by('login', 'direction')->ID;
$text = str_repeat("<p>La classe est sortie au musée, et chacun a écrit ce qu'il a vu.</p>\n", 20);
$out = [];
$out['post_id'] = post($head, ['post_title' => 'Sortie au musée', 'post_name' => 'sortie', 'post_content' => $text]);
$out['post'] = path_of($out['post_id']);
$out['page'] = path_of(post($head, ['post_type' => 'page', 'post_title' => 'La classe', 'post_name' => 'la-classe', 'post_content' => $text]));
for ($i = 1; $i <= 12; $i++) {
	post($head, ['post_title' => "Semaine $i", 'post_name' => "semaine-$i", 'post_content' => $text]);
}
foreach ($ask as $login => $user) {
	$id = wp_insert_user(['user_login' => $login, 'user_pass' => $user['password'], 'user_email' => "$login@school.example", 'display_name' => $user['marker'], 'role' => 'author']);
	$out['passwords'][$login] = $user['secret'];
	$out['protected'][$login] = path_of(post($head, ['post_title' => "Pour $login", 'post_name' => "pour-$login", 'post_content' => $user['marker'], 'post_password' => $user['secret']]));
	$private = post($id, ['post_title' => "Journal de $login", 'post_name' => "journal-$login", 'post_content' => $user['marker'], 'post_status' => 'private']);
	$out['private'][$login] = get_the_date('/Y/m/', $private) . "journal-$login/"; // as those have it who may see it
	$draft = post($id, ['post_title' => "Brouillon de $login", 'post_content' => $user['marker'], 'post_status' => 'draft']);
	$out['drafts'][$login] = "/?p=$draft&preview=true";
}
$upload = wp_upload_bits('photo.png', null, base64_decode('iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=='));
if (!empty($upload['error'])) {
	fwrite(STDERR, $upload['error'] . "\n");
	exit(1);
}
$out['media'] = wp_parse_url($upload['url'])['path'];
echo json_encode($out);
