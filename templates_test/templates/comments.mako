<%page args="article_id"/>\
## A thread: each remark is a fragment that holds its answers.

<%def name="branch(article_id, comment_id, depth)" cached="True"
      cache_region="short">
<%def name="byline(comment_id)" cached="True" cache_region="long">
<% one = news.comment(comment_id) %>
<p class="meta"><b>${one.reader}</b> · \
<time datetime="${one.written.isoformat()}">${f"{one.written.day} {one.written:%B, %H:%M}"}</time></p>
</%def>
<li class="${'deep' if depth > 3 else 'remark'}" id="c${comment_id}">
${byline(comment_id)}
${news.html(news.comment(comment_id).text)}
<% answers = news.answers(article_id, comment_id) %>
% if answers:
<ol>
% for answer in answers:
${branch(article_id, answer.id, depth + 1)}
% endfor
</ol>
% endif
</li>
</%def>

<%def name="heading(article_id)" cached="True" cache_region="short">
## Another def of the same name, in another def.
<%def name="byline(count)" cached="True" cache_region="long">
<p class="meta">${count} ${"reader writes" if count == 1 else "readers write"}</p>
</%def>
<% readers = {one.reader for one in news[article_id].comments} %>
<h2>Letters</h2>
${byline(len(readers))}
</%def>

<section class="comments" id="comments">
% if news[article_id].comments:
${heading(article_id)}
<ol>
% for one in news.answers(article_id):
${branch(article_id, one.id, 0)}
% endfor
</ol>
% else:
<h2>Letters</h2>
<p class="meta">Nobody has written to us about this yet.</p>
% endif
</section>
