/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_template.c - mapping templates.
 */
#include "template.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above in front of it */
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static const char body[] =
    "{\"name\":\"Ann \\\"A\\\" O'Neil\",\"n\":3,\"f\":1.5,\"yes\":true,\"no\":false,\"null\":null,"
    "\"list\":[\"a\",\"b\",\"c\"],\"things\":[{\"id\":1,\"t\":\"x\"},{\"id\":2,\"t\":\"y\"}],"
    "\"o\":{\"p\":{\"q\":\"deep\"},\"r\":[]},\"empty\":\"\"}";

static const char request[] = "GET /dev?q=a+b&q=last HTTP/1.1\r\nHost: h\r\nX-One: 1\r\n\r\n";

struct given {
    struct request_context context;
    struct http_head head;
    struct json *stage_variables;
    struct event_values values;
};

static void setup(struct given *given, const char *text, size_t len)
{
    static const char variables[] = "{\"phase\":\"initial\",\"host\":\"example\"}";

    *given = (struct given){.values = {.body = text, .body_len = len}};
    request_context_init(&given->context);
    given->context.connection_id = "gbgEXa8pzQAYKEi_gA==";
    given->context.stage = "dev";
    given->context.source_ip = "203.0.113.7";
    given->context.connected_at_ms = 1790295166108;
    given->context.authorizer = "{\"principalId\":\"user-1\",\"tenant\":\"t1\"}";
    assert_int_equal(json_parse(variables, strlen(variables), &given->stage_variables, NULL), OK);
    assert_int_equal(http_head_parse(request, strlen(request), &given->head, NULL), OK);
    given->values.context = &given->context;
    given->values.head = &given->head;
    given->values.stage_variables = given->stage_variables;
}

static void teardown(struct given *given)
{
    event_values_done(&given->values);
    json_free(given->stage_variables);
}

static struct template *compile(const char *text)
{
    struct template *template = NULL;
    char *exact = mem_realloc(NULL, strlen(text) + 1);
    struct error err;

    memcpy(exact, text, strlen(text) + 1);
    exact = mem_realloc(exact, strlen(text) ? strlen(text) : 1); /* no NUL to read on to */
    if (template_compile(exact, strlen(text), &template, &err))
        fail_msg("%s: %s", text, err.text);
    free(exact);
    return template;
}

static void assert_gives(const char *text, const char *message, const char *expected)
{
    struct template *template = compile(text);
    struct given given;
    struct error err;
    struct buf out;

    setup(&given, message, message ? strlen(message) : 0);
    buf_init(&out, 100000);
    if (template_render(template, &given.values, &out, &err))
        fail_msg("%s: %s", text, err.text);
    if (strcmp(buf_str(&out), expected) != 0)
        fail_msg("%s\nis  \"%s\"\nnot \"%s\"", text, buf_str(&out), expected);
    buf_done(&out);
    template_free(template);
    teardown(&given);
}

static void assert_renders(const char *text, const char *expected)
{
    assert_gives(text, body, expected);
}

/* ---- variables ---- */

static void test_text_is_itself(void **state)
{
    (void)state;
    assert_renders("", "");
    assert_renders("{\"statusCode\": 200}", "{\"statusCode\": 200}");
    assert_renders("a # b #fff #general(x) $ $5 $$ ${} $! \\ \\\\ \\n #",
                   "a # b #fff #general(x) $ "
                   "$5 $$ ${} $! \\ \\\\ \\n "
                   "#");
    assert_renders("#[[ $input.body #if ]]#!", " $input.body #if !");
}

static void test_input_body_is_the_message(void **state)
{
    (void)state;
    assert_renders("$input.body", body);
    assert_renders("${input.body}", body);
    assert_gives("<$input.body>", "plain $text", "<plain $text>");
    assert_gives("<$input.body>", NULL, "<>");
}

static void test_input_json_is_json(void **state)
{
    (void)state;
    assert_renders("$input.json('$.name')", "\"Ann \\\"A\\\" O'Neil\"");
    assert_renders("$input.json(\"$.n\") $input.json('$.yes') $input.json('$.null')",
                   "3 true null");
    assert_renders("$input.json('$.things[1]')", "{\"id\":2,\"t\":\"y\"}");
    assert_renders("$input.json('$.things[*].id')", "[1,2]");
    assert_renders("$input.json('$')", body);
    assert_renders("$input.json('$.missing') $input.json('$.list[9]')", "\"\" \"\"");
    assert_gives("$input.json('$')", "plain", "\"\"");
    assert_gives("$input.json('$')", NULL, "\"\"");
    assert_renders("{\"a\": 1$input.json('$.list')}", "{\"a\": 1[\"a\",\"b\",\"c\"]}");
    assert_renders("#set($p = 'name')$input.json(\"$.$p\")", "\"Ann \\\"A\\\" O'Neil\"");
}

static void test_input_path_is_a_value(void **state)
{
    (void)state;
    assert_renders("$input.path('$.name')", "Ann \"A\" O'Neil");
    assert_renders("$input.path('$.n') $input.path('$.f') $input.path('$.yes')", "3 1.5 true");
    assert_renders("$input.path('$.list') $input.path('$.o')", "[a, b, c] {p={q=deep}, r=[]}");
    assert_renders("$input.path('$.o').p.q ${input.path('$').o.p.q}!", "deep deep!");
    assert_renders("$input.path('$.list')[1] $input.path('$.list').size()", "b 3");
    assert_renders("$input.path('$.things[*].t')", "[x, y]");
    assert_renders("#set($root = $input.path('$'))$root.things[0].t $root['o']['p'].q "
                   "$root.get('n')",
                   "x deep 3");
}

static void test_what_is_missing_in_api_gateways_variables_is_empty(void **state)
{
    (void)state;
    assert_renders("<$input.path('$.x')$input.path('$.x').y$input.path('$.list[*].x')>", "<>");
    assert_renders("<$input.params('x')$context.x$context.authorizer.x$stageVariables.x>", "<>");
    assert_renders("<$input.path('$.null')>", "<>");
    assert_renders("#if($input.path('$.x') == '')empty#end#if($input.path('$.x'))there#end"
                   "#if($input.path('$.x') != '')not empty#end",
                   "empty");
    assert_renders("#set($x = $input.path('$.x'))<$x$x.y$x.z[0]>#if(!$x)no#end", "<>no");
}

static void test_input_params(void **state)
{
    (void)state;
    assert_renders("$input.params('q') $input.params('x-one') <$input.params('none')>",
                   "last 1 <>");
    assert_renders("$input.params().querystring.q $input.params().header.get('X-One')", "last 1");
    assert_renders("$input.params()", "{path={}, querystring={q=last}, header={Host=h, X-One=1}}");
    assert_renders("#foreach($k in $input.params().header.keySet())$k;#end", "Host;X-One;");
}

static void test_context_and_stage_variables(void **state)
{
    (void)state;
    assert_renders("$context.connectionId", "gbgEXa8pzQAYKEi_gA==");
    assert_renders("${context.stage}x $context.identity.sourceIp", "devx 203.0.113.7");
    assert_renders("$context.authorizer.principalId $context.authorizer['tenant']", "user-1 t1");
    assert_renders("$context.connectedAt", "1790295166108");
    assert_renders("$context", "{stage=dev, connectionId=gbgEXa8pzQAYKEi_gA==, "
                               "connectedAt=1790295166108, authorizer={principalId=user-1, "
                               "tenant=t1}, identity={sourceIp=203.0.113.7}}");
    assert_renders("$stageVariables.phase $stageVariables['host'] $stageVariables",
                   "initial example {phase=initial, host=example}");
    assert_renders("$stageVariables.get('phase') $context.authorizer.keySet()",
                   "initial [principalId, tenant]");
}

static void test_no_stage_variables_are_an_empty_map(void **state)
{
    struct template *template = compile("$stageVariables<$stageVariables.a>");
    struct given given;
    struct buf out;

    (void)state;
    setup(&given, NULL, 0);
    given.values.stage_variables = NULL;
    buf_init(&out, 100);
    assert_int_equal(template_render(template, &given.values, &out, NULL), OK);
    assert_string_equal(buf_str(&out), "{}<>");
    buf_done(&out);
    template_free(template);
    teardown(&given);
}

/* ---- $util ---- */

static void test_escape_javascript(void **state)
{
    (void)state;
    assert_renders("$util.escapeJavaScript($input.path('$.name'))", "Ann \\\"A\\\" O\\'Neil");
    assert_gives("$util.escapeJavaScript($input.body)", "/\\\b\t\n\f\r\x01\x7f<>",
                 "\\/\\\\\\b\\t\\n\\f\\r\\u0001\x7f<>");
    assert_gives("$util.escapeJavaScript($input.body)",
                 "\xC3\xBC \xE2\x82\xAC \xF0\x9F\x98\x80 \xFF",
                 "\\u00FC \\u20AC \\uD83D\\uDE00 \\uFFFD");
    assert_renders("$util.escapeJavaScript($input.path('$.n'))", "3");
    assert_renders("<$util.escapeJavaScript($input.path('$.x'))>", "<>");
    assert_renders("$util.escapeJavaScript($nobody)", "$util.escapeJavaScript($nobody)");
    /* What the documentation recommends against \' in JSON. */
    assert_renders("\"$util.escapeJavaScript($input.path('$.name')).replaceAll(\"\\\\'\",\"'\")\"",
                   "\"Ann \\\"A\\\" O'Neil\"");
}

static void test_parse_json(void **state)
{
    (void)state;
    assert_gives("#set($b = $util.parseJson($input.path('$.inner')))$b.a[1] $b",
                 "{\"inner\":\"{\\\"a\\\":[1,\\\"two\\\"]}\"}", "two {a=[1, two]}");
    assert_renders("$util.parseJson('7') $util.parseJson('\"x\"')", "7 x");
    assert_renders("<$util.parseJson($input.path('$.x'))>", "<>");
}

static void test_url_and_base64(void **state)
{
    (void)state;
    assert_gives("$util.urlEncode($input.body)", "a b&c=\xC3\xBC*-._~/",
                 "a+b%26c%3D%C3%BC*-._%7E%2F");
    assert_gives("$util.urlDecode($input.body)", "a+b%26c%3D%C3%BC", "a b&c=\xC3\xBC");
    assert_gives("$util.base64Encode($input.body)", "\xFB\xEF\xBE?", "++++Pw==");
    assert_gives("$util.base64Encode($input.body)", "abc", "YWJj");
    assert_gives("$util.base64Encode($input.body)", "", "");
    assert_gives("$util.base64Decode($input.body)", "++++Pw==", "\xFB\xEF\xBE?");
    assert_gives("$util.base64Decode($input.body)", "YWI", "ab");
}

/* ---- the language ---- */

static void test_references_without_a_value(void **state)
{
    (void)state;
    assert_renders("$x ${x} $!x<$!{x}> $x.y $x.size() ${x.y}", "$x ${x} <> $x.y $x.size() ${x.y}");
    assert_renders("#set($r = $input.path('$'))$r.none $!r.none|$r.null", "$r.none |$r.null");
    assert_renders("user@x.org costs $100", "user@x.org costs $100");
}

static void test_where_a_reference_ends(void **state)
{
    (void)state;
    assert_renders("#set($x = 'v')$x. $x.. $x, ${x}y $x: $x/$x $x) $x", "v. v.. v, vy v: v/v v) v");
    assert_renders("#set($a-b = 1)$a-b", "1");
    assert_renders("#set($x_1 = 1)$x_1.5", "1.5");
}

static void test_backslashes(void **state)
{
    (void)state;
    assert_renders("#set($x = 'v')\\$x \\\\$x \\\\\\$x", "$x \\v \\$x");
    assert_renders("\\$x \\\\$x \\$!x", "\\$x \\\\$x \\$!x");
    assert_renders("\\#if(true) \\\\#if(true)y#end \\#nothing", "#if(true) \\y \\#nothing");
}

static void test_set(void **state)
{
    (void)state;
    assert_renders("#set($x = 1)$x", "1");
    assert_renders("#set( $x=\"a\" )\n#set ($y = 'b')\n$x$y", "ab");
    assert_renders("#{set}($x = true)$x", "true");
    assert_renders("#set($x = 1)#set($x = $nothing)$x", "1");
    assert_renders("#set($x = 1)#set($x = $x + 1)$x", "2");
    assert_renders("a\n  #set($x = 1)  \nb #set($x = 2)c", "a\nb c");
}

static void test_texts(void **state)
{
    (void)state;
    assert_renders("#set($n = 'x')#set($s = \"a $n ${n}b $none\")$s", "a x xb $none");
    assert_renders("#set($s = 'a $n')$s", "a $n");
    assert_renders("#set($s = \"say \"\"hi\"\"\")$s #set($s = 'it''s')$s", "say \"hi\" it's");
    assert_renders("#set($s = \"#if(true)yes#end #foreach($i in [1,2])$i#end\")$s", "yes 12");
    assert_renders("#set($s = \"C:\\dir\\\\\")$s", "C:\\dir\\\\");
    assert_renders("#set($s = \"two\nlines\")$s", "two\nlines");
    assert_renders("#set($s = '')<$s>", "<>");
}

static void test_if(void **state)
{
    (void)state;
    assert_renders("#if(true)a#end#if(false)b#end#if($none)c#else d#end", "a d");
    assert_renders("#if(false)a#elseif(true)b#else c#end", "b");
    assert_renders("#if(false)a#elseif(false)b#{else}c#end", "c");
    assert_renders("#if($input.path('$.no'))a#elseif($input.path('$.yes'))b#end", "b");
    assert_renders("#if('')a#end#if(0)b#end#if([])c#end", "abc"); /* as Velocity 1.x */
    assert_renders("#if(true)\n a\n#else\n b\n#end\nc", " a\nc");
    assert_renders("#if(true)#if(false)a#else#if(true)b#end#end#end", "b");
}

static void test_comparisons(void **state)
{
    (void)state;
    assert_renders("#if(1 == 1)a#end#if(1 == 1.0)b#end#if('1' == 1)c#end#if('a' == 'a')d#end"
                   "#if(1 == 2)e#end#if('a' != 'b')f#end#if(true == true)g#end",
                   "abcdfg");
    assert_renders(
        "#if(1 < 2)a#end#if(2 <= 2)b#end#if(3 > 2.5)c#end#if(2 >= 3)d#end"
        "#if('x' < 'y')e#end#if($none > 1)f#end#if($none == $other)g#end#if($none == 1)h#end",
        "abcg");
    assert_renders("#if(1 lt 2 and 2 le 2 and 3 gt 2 and 3 ge 3 and 1 eq 1 and 1 ne 2)a#end"
                   "#if(false or not false)b#end",
                   "ab");
    assert_renders(
        "#if(true && !false || $none)a#end#if(!(true && false))b#end#if(!true || false)c#end",
        "ab");
    assert_renders("#if([1, 2] == [1, 2])a#end#if($input.path('$.list') == ['a', 'b', 'c'])b#end",
                   "ab");
    assert_renders("#if($input.path('$.n') == 3)a#end#if($input.path('$.n') == '3')b#end", "ab");
}

static void test_arithmetic(void **state)
{
    (void)state;
    assert_renders("#set($x = 1 + 2 * 3 - 4)$x", "3");
    assert_renders("#set($x = (1 + 2) * 3)$x", "9");
    assert_renders("#set($x = 7 / 2)$x #set($x = 7 % 4)$x #set($x = -7 / 2)$x", "3 3 -3");
    assert_renders("#set($x = 10 - 3 - 2)$x", "5");
    assert_renders("#set($x = 1.5 * 2)$x #set($x = 0.1 + 0.2)$x", "3 0.30000000000000004");
    assert_renders("#set($x = 'a' + 1 + $input.path('$.list'))$x", "a1[a, b, c]");
    assert_renders("#set($x = 'old')#set($x = 1 / 0)$x #set($x = 1 % 0)$x #set($x = 'a' * 2)$x "
                   "#set($x = $none + 1)$x",
                   "old old old old");
    assert_renders("#set($x = -5)$x #set($x = 3 -1)$x #set($x = 3-1)$x", "-5 2 2");
    assert_renders("#set($x = 12345678901234567 + 1)$x", "12345678901234568");
}

static void test_lists_and_maps(void **state)
{
    (void)state;
    assert_renders("#set($l = [1, 'a', [2, 3], {'k': 'v'}])$l $l[2][1] $l[3].k $l.size()",
                   "[1, a, [2, 3], {k=v}] 3 v 4");
    assert_renders("#set($m = {\"a\": 1, 'b' : [2], \"c d\": {}})$m $m.a $m['c d'] $m.get('b')[0]",
                   "{a=1, b=[2], c d={}} 1 {} 2");
    assert_renders("#set($l = [1..4])$l #set($l = [2..-1])$l #set($l = [])$l #set($m = {})$m",
                   "[1, 2, 3, 4] [2, 1, 0, -1] [] {}");
    assert_renders("#set($l = [1])#set($o = $l.add(2))$o $l", "true [1, 2]");
    assert_renders("#set($m = {})$!m.put('a', 1)$!m.put('a', 2) $m", "1 {a=2}");
    assert_renders("#set($m = {'a': 1, 'a': 2})$m.size() $m", "1 {a=2}");
    assert_renders("#set($l = [1])$!l[5]$!l[-1]$!l.x<$l[0]>", "<1>");
    assert_renders("#set($i = 1)#set($l = ['a', 'b'])$l[$i] $l.get($i)", "b b");
    assert_renders("#set($l = [$none, $input.path('$.list')])$l", "[null, [a, b, c]]");
}

static void test_methods(void **state)
{
    (void)state;
    assert_renders(
        "#set($o = $input.path('$.o'))$o.keySet() $o.values() $o.entrySet() $o.size() "
        "$o.containsKey('p') $o.containsKey('x') $o.isEmpty() $o.r.isEmpty() $o.r.empty",
        "[p, r] [{q=deep}, []] [{key=p, value={q=deep}}, {key=r, value=[]}] 2 true false "
        "false true true");
    assert_renders("#foreach($e in $input.path('$.o.p').entrySet())$e.key=$e.value#end", "q=deep");
    assert_renders("#set($t = 'abcabc')$t.length() $t.contains('ca') $t.contains('x') "
                   "$t.startsWith('ab') $t.endsWith('ab') $t.replace('b', '--') $t.equals('x') "
                   "$t.isEmpty() $t.empty $t.toString()",
                   "6 true false true false a--ca--c false false false abcabc");
    assert_renders("#set($t = '\xF0\x9F\x98\x80\xC3\xBC')$t.length()", "3");
    assert_renders("#set($l = [1, 'x'])$l.contains('x') $l.contains(1) $l.contains(2) $l.equals(1)",
                   "true true false false");
    assert_renders("#set($t = 'a.b')$t.replaceAll('\\.', '-') $t.replaceAll(\"a\", \"\\$\")",
                   "a-b $.b");
    assert_renders("#set($n = 7)$n.toString().length() $n.size()", "1 $n.size()");
}

static void test_foreach(void **state)
{
    (void)state;
    assert_renders("#foreach($x in $input.path('$.list'))$x#if($foreach.hasNext),#end#end",
                   "a,b,c");
    assert_renders("#foreach( $t in $input.path('$.things') )$t.id:$t.t #end", "1:x 2:y ");
    assert_renders(
        "#foreach($x in [5, 6])$foreach.index $foreach.count $velocityCount $foreach.first "
        "$foreach.last $velocityHasNext;#end",
        "0 1 1 true false true;1 2 2 false true false;");
    assert_renders("#foreach($v in $input.path('$.o.p'))$v#end", "deep");
    assert_renders("#foreach($v in {'a': 1, 'b': 2})$v#end", "12");
    assert_renders("#foreach($x in $none)a#end#foreach($x in 'text')b#end#foreach($x in [])c#end",
                   "");
    assert_renders("#set($x = 'before')#foreach($x in [1])$x#end $x", "1 before");
    assert_renders("#foreach($i in [1..3])#foreach($j in [1..2])$i$j#if($foreach.hasNext)-#end#end"
                   "#if($foreach.hasNext),#end#end",
                   "11-12,21-22,31-32");
    assert_renders("#foreach($i in [1..9])#if($i == 3)#break#end$i#end!", "12!");
    assert_renders("#foreach($i in [1..2])#foreach($j in [1..9])$j#if($j == 2)#break#end#end;#end",
                   "12;12;");
    assert_renders("#set($l = [1, 2])#foreach($x in $l)#set($o = $l.add($x))#end$l",
                   "[1, 2, 1, 2]");
    assert_renders("[\n#foreach($x in [1,2])\n  $x#if($foreach.hasNext),#end\n\n#end\n]",
                   "[\n  1,\n  2\n]");
    assert_renders("#foreach($x in [1])#end$foreach.index", "$foreach.index");
}

static void test_comments(void **state)
{
    (void)state;
    assert_renders("a## b $input.body\nc#* d\n #if *#e", "ace");
    assert_renders("## only", "");
}

/* ---- whole templates ---- */

static void test_the_pass_through_template(void **state)
{
    (void)state;
    assert_renders("#set($allParams = $input.params())\n"
                   "{\n"
                   "\"body-json\" : $input.json('$.list'),\n"
                   "\"params\" : {\n"
                   "#foreach($type in $allParams.keySet())\n"
                   "    #set($params = $allParams.get($type))\n"
                   "\"$type\" : {\n"
                   "    #foreach($paramName in $params.keySet())\n"
                   "    \"$paramName\" : \"$util.escapeJavaScript($params.get($paramName))\"\n"
                   "        #if($foreach.hasNext),#end\n"
                   "    #end\n"
                   "}\n"
                   "    #if($foreach.hasNext),#end\n"
                   "#end\n"
                   "},\n"
                   "\"stage-variables\" : {\n"
                   "#foreach($key in $stageVariables.keySet())\n"
                   "\"$key\" : \"$util.escapeJavaScript($stageVariables.get($key))\"\n"
                   "    #if($foreach.hasNext),#end\n"
                   "#end\n"
                   "},\n"
                   "\"context\" : {\n"
                   "    \"account-id\" : \"$context.identity.accountId\",\n"
                   "    \"stage\" : \"$context.stage\",\n"
                   "    \"source-ip\" : \"$context.identity.sourceIp\"\n"
                   "    }\n"
                   "}\n",
                   "{\n"
                   "\"body-json\" : [\"a\",\"b\",\"c\"],\n"
                   "\"params\" : {\n"
                   "\"path\" : {\n"
                   "    }\n"
                   "    ,\"querystring\" : {\n"
                   "        \"q\" : \"last\"\n"
                   "            }\n"
                   "    ,\"header\" : {\n"
                   "        \"Host\" : \"h\"\n"
                   "        ,        \"X-One\" : \"1\"\n"
                   "            }\n"
                   "    },\n"
                   "\"stage-variables\" : {\n"
                   "\"phase\" : \"initial\"\n"
                   "    ,\"host\" : \"example\"\n"
                   "    },\n"
                   "\"context\" : {\n"
                   "    \"account-id\" : \"\",\n"
                   "    \"stage\" : \"dev\",\n"
                   "    \"source-ip\" : \"203.0.113.7\"\n"
                   "    }\n"
                   "}\n");
}

static void test_a_list_of_objects_is_made_new(void **state)
{
    (void)state;
    assert_renders(
        "#set($inputRoot = $input.path('$'))\n"
        "{\"choices\": [\n"
        "#foreach($elem in $inputRoot.things)\n"
        "  {\"kind\": \"$elem.t\", \"suggestion\": $elem.id}#if($foreach.hasNext),#end\n"
        "#end\n"
        "]}",
        "{\"choices\": [\n"
        "  {\"kind\": \"x\", \"suggestion\": 1},  {\"kind\": \"y\", \"suggestion\": 2}]}");
}

/* ---- what is refused ---- */

static const struct {
    const char *text;
    const char *what;
} refused[] = {
    {"\n#macro(a)#end", "line 2: #macro is not supported"},
    {"#define($x)#end", "line 1: #define is not supported"},
    {"#include('x')", "#include is not supported"},
    {"#parse('x')", "#parse is not supported"},
    {"#evaluate('x')", "#evaluate is not supported"},
    {"#stop", "#stop is not supported"},
    {"a\nb\n#if(true)\n", "line 4: #if of line 3 has no #end"},
    {"#foreach($x in [1])", "#foreach of line 1 has no #end"},
    {"#foreach($x in [1])#else#end", "#foreach of line 1 has no #end"},
    {"#end", "#end has nothing to end"},
    {"#else", "#else is not inside an #if"},
    {"#elseif(true)", "#elseif is not inside an #if"},
    {"#if(true)#else#else#end", "nothing but #end comes behind #else"},
    {"#if true", "( is expected behind #if"},
    {"#if()", "a value is expected"},
    {"#if(true", ") is expected at the end of a condition"},
    {"#if(1 = 1)#end", ") is expected at the end of a condition"},
    {"#if(x == 1)#end", "\"x\" is not known here"},
    {"#if(1 ==)#end", "a value is expected"},
    {"#set($x = )", "a value is expected"},
    {"#set(x = 1)", "$ is expected in #set"},
    {"#set($x 1)", "= is expected in #set"},
    {"#set($x.y = 1)", "assigning to a part of $x is not supported"},
    {"#set($context.responseOverride.status = 400)", "$context cannot be assigned to"},
    {"#set($input = 1)", "$input cannot be assigned to"},
    {"#set($x = 'a)", "a closing ' is missing"},
    {"#set($x = \"a\\\"b\")", "a \" inside a text is written twice"},
    {"#set($x = 123456789012345678901)", "more than 17 digits"},
    {"#set($x = [1, )", "a value is expected"},
    {"#set($x = [1 2])", ", or ] is expected"},
    {"#set($x = [1..2)", "] is expected behind a range"},
    {"#set($x = {'a' 1})", ": or } is expected"},
    {"#set($x = {'a': 1, })", "a value is expected"},
    {"#set($x = (1)", ") is expected"},
    {"#set($x = -$y)", "a value is expected"},
    {"#set($x = $)", "the name of a variable is expected behind $"},
    {"#foreach(x in [1])#end", "$ is expected in #foreach"},
    {"#foreach($x of [1])#end", "in is expected in #foreach"},
    {"#break", "#break is not inside a #foreach"},
    {"#* never ends", "a comment has no *#"},
    {"#[[ never ends", "#[[ has no ]]#"},
    {"${x", "} is expected behind ${x"},
    {"${x y}", "} is expected behind ${x"},
    {"${x|'none'}", "an alternate value"},
    {"$x[", "a value is expected"},
    {"$x[]", "one index between [ and ] is expected"},
    {"$x.foo()", "the method foo with 0 arguments is not supported"},
    {"$x.size(1)", "the method size with 1 arguments is not supported"},
    {"\n\n$x.split(',')", "line 3: the method split"},
    {"$x.replaceAll('[a-z]', '')", "replaceAll is supported with two plain texts only"},
    {"$x.replaceAll('\\d', '')", "replaceAll is supported"},
    {"$x.replaceAll('', 'a')", "replaceAll is supported"},
    {"$x.replaceAll('a', '$1')", "replaceAll is supported"},
    {"$x.replaceAll($y, 'a')", "replaceAll is supported"},
    {"$input", "$input alone is not supported"},
    {"$input.foo", "the property foo is not supported here"},
    {"$input.headers('a')", "the method headers with 1 arguments"},
    {"$input['body']", "$input alone is not supported"},
    {"$util", "$util alone is not supported"},
    {"$util.qr(1)", "the method qr with 1 arguments is not supported"},
    {"$util.escapeJavaScript", "the property escapeJavaScript is not supported here"},
    {"$util.urlEncode('a', 'b')", "the method urlEncode with 2 arguments"},
    {"$foreach", "$foreach alone is not supported"},
    {"$foreach.parent.index", "the property parent is not supported here"},
    {"$foreach.size()", "$foreach has no methods"},
    {"$input.json('a')", "a path that begins with $ is expected"},
    {"$input.json('')", "a path that begins with $ is expected"},
    {"\n$input.path('$.a[?(@.b)]')", "line 2: path \"$.a[?(@.b)]\": an index, a quoted name or * "
                                     "is expected at byte 4"},
    {"$input.path('$..a')", "a member's name is expected at byte 2"},
    {"$input.path('$.a b')", ".name or [index] is expected at byte 3"},
    {"#set($x = \"a\n$input.foo\")", "line 2: the property foo"},
    {"#set($x = \"#break\")", "#break is not inside a #foreach"},
};

static void test_what_is_not_supported_is_refused_with_its_line(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(refused); i++) {
        struct template *template = NULL;
        struct error err = {.text = ""};

        if (template_compile(refused[i].text, strlen(refused[i].text), &template, &err) != INVALID)
            fail_msg("taken: %s", refused[i].text);
        if (!strstr(err.text, refused[i].what))
            fail_msg("%s: %s", refused[i].text, err.text);
        assert_null(template);
        assert_int_equal(
            template_compile(refused[i].text, strlen(refused[i].text), &template, NULL), INVALID);
    }
    template_free(NULL);
}

static void test_what_goes_wrong_only_with_a_message(void **state)
{
    static const struct {
        const char *text;
        const char *what;
    } cases[] = {
        {"\n$util.parseJson($input.body)", "line 2: parseJson: not JSON at byte"},
        {"$util.urlDecode('%zz')", "urlDecode: this is not URL-encoded"},
        {"$util.base64Decode('%zz')", "base64Decode: this is not base64"},
        {"$util.base64Decode('a-_b')", "base64Decode: this is not base64"},
        {"#set($p = 'x')$input.path($p)", "a path that begins with $ is expected"},
        {"#set($p = 'x')$input.json(\"$.$p..\")", "a member's name is expected at byte 4"},
        {"#set($r = $util.parseJson('[1]'))$r.add(1)", "add() needs a list that the template made"},
        {"#set($r = $util.parseJson('{}'))$r.put('a', 1)", "put() needs a map"},
        {"#set($t = 'a')#set($e = '')$t.replace($e, 'b')", "replace() of an empty text"},
        {"#set($x = 12345678901234567 * 10000)", "more than 64 bits"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct template *template;
        struct given given;
        struct error err = {.text = ""};
        struct buf out;

        template = compile(cases[i].text);
        setup(&given, "not JSON", 8);
        buf_init(&out, 100);
        if (template_render(template, &given.values, &out, &err) != INVALID)
            fail_msg("rendered: %s: %s", cases[i].text, buf_str(&out));
        if (!strstr(err.text, cases[i].what))
            fail_msg("%s: %s", cases[i].text, err.text);
        buf_done(&out);
        template_free(template);
        teardown(&given);
    }
}

/* ---- limits ---- */

static enum status render_with(const char *text, const char *message, size_t limit, struct buf *out,
                               struct error *err)
{
    struct template *template = compile(text);
    struct given given;
    enum status st;

    setup(&given, message, strlen(message));
    buf_init(out, limit);
    st = template_render(template, &given.values, out, err);
    template_free(template);
    teardown(&given);
    return st;
}

static void assert_hits_limit(const char *text, const char *message, size_t limit, const char *what)
{
    struct error err = {.text = ""};
    struct buf out;

    if (render_with(text, message, limit, &out, &err) != LIMIT)
        fail_msg("%s: %s", text, err.text);
    if (!strstr(err.text, what))
        fail_msg("%s: %s", text, err.text);
    buf_done(&out);
}

static void test_a_template_has_at_most_300_kb(void **state)
{
    const size_t most = 300 * 1024;
    char *text = mem_alloc(most + 1);
    struct template *template = NULL;
    struct error err;
    struct buf out;
    struct given given;

    (void)state;
    memset(text, 'x', most + 1);
    assert_int_equal(template_compile(text, most + 1, &template, &err), INVALID);
    assert_non_null(strstr(err.text, "at most 300 KB"));
    assert_int_equal(template_compile(text, most, &template, &err), OK);
    setup(&given, "", 0);
    buf_init(&out, most);
    assert_int_equal(template_render(template, &given.values, &out, &err), OK);
    assert_int_equal(out.len, most);
    buf_done(&out);
    teardown(&given);
    template_free(template);
    free(text);
}

static void test_output_is_limited(void **state)
{
    struct error err;
    struct buf out;

    (void)state;
    assert_int_equal(render_with("$input.body$input.body", "12345", 10, &out, &err), OK);
    assert_int_equal(out.len, 10);
    buf_done(&out);
    assert_hits_limit("\n$input.body$input.body", "123456", 11,
                      "line 2: the output is larger than 11 bytes");
    assert_hits_limit("#foreach($i in [1..20000])0123456789#end", "", 1000, "larger than 1000");
}

/* A round of the loop: itself, its text, and an item of the list; 10 for the rest. */
static void test_steps_are_limited(void **state)
{
    struct error err;
    struct buf out;

    (void)state;
    assert_int_equal(render_with("#foreach($i in [1..30000])a#end", "", 1000000, &out, &err), OK);
    assert_int_equal(out.len, 30000);
    buf_done(&out);
    assert_hits_limit("#foreach($i in [1..50000])a#end", "", 1000000,
                      "line 1: the template takes more than 100000 steps");
    assert_hits_limit("#set($l = [1..1000000000])", "", 100, "more than 100000 steps");
    assert_hits_limit("#foreach($i in [1..500])#foreach($j in [1..500])#end#end", "", 100,
                      "more than 100000 steps");
}

static void test_what_a_message_makes_large_is_limited(void **state)
{
    static const size_t count = 20000;
    struct error err;
    struct buf message;
    struct buf out;

    (void)state;
    buf_init(&message, 1000000);
    buf_addc(&message, '{');
    for (size_t i = 0; i < count; i++)
        buf_addf(&message, "%s\"k%zu\":%zu", i ? "," : "", i, i);
    buf_addc(&message, '}');
    /* Once through all of it is allowed; looking for each by name is a loop in a loop. */
    assert_int_equal(render_with("#set($b = $input.path('$'))#foreach($v in $b)$v#end",
                                 buf_str(&message), 1000000, &out, &err),
                     OK);
    buf_done(&out);
    assert_hits_limit("#set($b = $input.path('$'))#foreach($k in $b.keySet())$b.get($k)#end",
                      buf_str(&message), 1000000, "more than 100000 steps");
    assert_hits_limit("#set($b = $input.path('$'))#foreach($i in [1..20000])$b.size()#end",
                      buf_str(&message), 1000000, "more than 100000 steps");
    assert_hits_limit("#foreach($i in [1..20000])$input.json('$.k1')#end", buf_str(&message),
                      1000000, "more than 100000 steps");
    assert_hits_limit("#foreach($i in [1..20000])#if($input.body == 'x')#end#end",
                      buf_str(&message), 1000000, "more than 100000 steps");
    buf_done(&message);
}

static void test_memory_is_limited(void **state)
{
    (void)state;
    assert_hits_limit("#set($x = '0123456789')#foreach($i in [1..100])#set($x = \"$x$x\")#end", "",
                      100, "more than 32 MB");
    assert_hits_limit("#set($x = '0123456789')#foreach($i in [1..100])#set($x = $x + $x)#end", "",
                      100, "more than 32 MB");
    assert_hits_limit("#set($x = '[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]')"
                      "#foreach($i in [1..20000])#set($y = $util.parseJson($x))#end",
                      "", 100, "more than 32 MB");
}

static void test_a_list_in_itself_is_printed_no_deeper_than_50(void **state)
{
    (void)state;
    assert_hits_limit("#set($l = [])#set($o = $l.add($l))$l", "", 100000,
                      "lists in lists more than 50 deep");
    assert_hits_limit("#set($l = [1])#foreach($i in [1..40])#set($l = [$l, $l])#end$l", "", 1000000,
                      "");
}

/* What would make the stack of the program deep. */
static void test_nesting_is_limited(void **state)
{
    static const struct {
        const char *open;
        const char *middle;
        const char *close;
        size_t taken; /* and twice as many are not */
    } cases[] = {
        {"#if(true)", "x", "#end", 45},
        {"#foreach($i in [1])", "x", "#end", 45},
        {"(", "1", ")", 45},
        {"[", "1", "]", 45},
        {"!", "true", "", 45},
        {"$x.get(", "1", ")", 22},
        {"$x[", "1", "]", 22},
        {"1 + ", "1", "", 90},
        {"", "1", " + 1", 90},
        {"true || ", "true", "", 90},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        for (size_t times = 1; times <= 2; times++) {
            bool is_block = cases[i].open[0] == '#';
            struct template *template = NULL;
            struct error err = {.text = ""};
            struct buf text;

            buf_init(&text, 100000);
            buf_adds(&text, is_block ? "" : "#set($y = ");
            for (size_t j = 0; j < cases[i].taken * times; j++)
                buf_adds(&text, cases[i].open);
            buf_adds(&text, cases[i].middle);
            for (size_t j = 0; j < cases[i].taken * times; j++)
                buf_adds(&text, cases[i].close);
            buf_adds(&text, is_block ? "" : ")");
            if ((template_compile(buf_str(&text), text.len, &template, &err) == OK) != (times == 1))
                fail_msg("%s: %s", buf_str(&text), err.text);
            template_free(template);
            buf_done(&text);
        }
    }
}

static void test_variables_are_limited(void **state)
{
    struct template *template = NULL;
    struct error err;
    struct buf text;

    (void)state;
    buf_init(&text, 100000);
    for (int i = 0; i < 1000; i++)
        buf_addf(&text, "$v%d", i);
    assert_int_equal(template_compile(buf_str(&text), text.len, &template, &err), OK);
    template_free(template);
    buf_adds(&text, "$v0$one-more");
    assert_int_equal(template_compile(buf_str(&text), text.len, &template, &err), INVALID);
    assert_non_null(strstr(err.text, "more than 1000 variables"));
    buf_done(&text);
}

static void test_a_body_with_a_nul_is_kept(void **state)
{
    struct template *template = compile("$input.body|$util.escapeJavaScript($input.body)|"
                                        "$util.urlEncode($input.body)|$input.body.length()");
    struct given given;
    struct buf out;

    (void)state;
    setup(&given, "a\0b", 3);
    buf_init(&out, 100);
    assert_int_equal(template_render(template, &given.values, &out, NULL), OK);
    assert_int_equal(out.len, strlen("a?b|a\\u0000b|a%00b|3"));
    assert_memory_equal(out.data, "a\0b|a\\u0000b|a%00b|3", out.len);
    buf_done(&out);
    template_free(template);
    teardown(&given);
}

static void test_a_template_renders_again(void **state)
{
    struct template *template = compile("$!x#set($x = $input.path('$.n'))$x");
    struct given given;
    struct buf out;

    (void)state;
    buf_init(&out, 100);
    for (int i = 0; i < 2; i++) {
        setup(&given, "{\"n\":1}", 7);
        assert_int_equal(template_render(template, &given.values, &out, NULL), OK);
        teardown(&given);
    }
    assert_string_equal(buf_str(&out), "11");
    buf_done(&out);
    template_free(template);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_is_itself),
        cmocka_unit_test(test_input_body_is_the_message),
        cmocka_unit_test(test_input_json_is_json),
        cmocka_unit_test(test_input_path_is_a_value),
        cmocka_unit_test(test_what_is_missing_in_api_gateways_variables_is_empty),
        cmocka_unit_test(test_input_params),
        cmocka_unit_test(test_context_and_stage_variables),
        cmocka_unit_test(test_no_stage_variables_are_an_empty_map),
        cmocka_unit_test(test_escape_javascript),
        cmocka_unit_test(test_parse_json),
        cmocka_unit_test(test_url_and_base64),
        cmocka_unit_test(test_references_without_a_value),
        cmocka_unit_test(test_where_a_reference_ends),
        cmocka_unit_test(test_backslashes),
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_if),
        cmocka_unit_test(test_comparisons),
        cmocka_unit_test(test_arithmetic),
        cmocka_unit_test(test_lists_and_maps),
        cmocka_unit_test(test_methods),
        cmocka_unit_test(test_foreach),
        cmocka_unit_test(test_comments),
        cmocka_unit_test(test_the_pass_through_template),
        cmocka_unit_test(test_a_list_of_objects_is_made_new),
        cmocka_unit_test(test_what_is_not_supported_is_refused_with_its_line),
        cmocka_unit_test(test_what_goes_wrong_only_with_a_message),
        cmocka_unit_test(test_a_template_has_at_most_300_kb),
        cmocka_unit_test(test_output_is_limited),
        cmocka_unit_test(test_steps_are_limited),
        cmocka_unit_test(test_what_a_message_makes_large_is_limited),
        cmocka_unit_test(test_memory_is_limited),
        cmocka_unit_test(test_a_list_in_itself_is_printed_no_deeper_than_50),
        cmocka_unit_test(test_nesting_is_limited),
        cmocka_unit_test(test_variables_are_limited),
        cmocka_unit_test(test_a_body_with_a_nul_is_kept),
        cmocka_unit_test(test_a_template_renders_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
